"""The process that compiles and runs one wasi module, and nothing else.

Here: `Request` and `End` on the pipes, resource limits of the process, compile, link, run, publish.
Not here: the parent's side (wasi.py), the system calls (wasi_calls.py), pinned features (wasi_profile.py).
Keeps: the module is compiled only after its digest was compared; a run that a limit ended publishes no
output (what was written by then would depend on nothing useful); the process ends when its parent does.

On standard input: one length and one `Request`, and then nothing: its end means that the parent is gone.
On standard output: frames of a length (u32), a kind (u8) and a body: 1 printed on stdout, 2 on stderr,
3 the `End`, 4 (empty) the module is compiled: a worker that dies before it died of the module.
"""

from __future__ import annotations

import hashlib
import os
import resource
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
from wasmtime import Func, FuncType, Linker, Memory, MemoryType, Module, Store, Trap, TrapCode, WasmtimeError

from consensus.types.codec import Codec, Record, encode
from spark_node.job import MODULE_NAME
from spark_node.runtimes.runtime import ENDING_STATUS, WASI_TRAP_STATUS, Ending, plain_files
from spark_node.runtimes.wasi_calls import Calls
from spark_node.runtimes.wasi_files import Files
from spark_node.runtimes.wasi_guest import Exited, Limited
from spark_node.runtimes.wasi_profile import SIGNATURES, WASI_MODULE, make_engine, make_store

OVERHEAD_BYTES = 2**30
"""Memory for the interpreter, the compiler and copies, beside the module's own."""
OPEN_FILES_MAX = 1024
FRAME_BYTES_MAX = 64 * 1024
PAGE_BYTES = 64 * 1024
BINARY_MAGIC = b"\0asm\1\0\0\0"
OUT, ERR, END, COMPILED = 1, 2, 3, 4
_KINDS = {"out": OUT, "err": ERR}


class Request(Record, frozen=True):
    """What the parent asks for; it travels on a pipe because the environment may hold secrets."""

    module_digest: bytes
    input: str
    store: str
    """An empty directory on the same file system as `output`."""
    output: str
    input_mount: str
    output_mount: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    memory_bytes: int
    disk_bytes: int
    output_bytes_max: int
    log_bytes_max: int
    fuel: int


class End(Record, frozen=True):
    """How it ended. Labels are inferred; the exit status is what the program gave."""

    exit_status: int
    ending: Ending
    detail: str
    """The engine's own word, if it has one."""
    by_itself: bool
    """Whether the program ended by itself, so that what it wrote is its result."""
    fuel: int
    output_bytes: int


REQUEST: Codec[Request] = Codec(Request)
END_CODEC: Codec[End] = Codec(End, FRAME_BYTES_MAX)


def frame(kind: int, body: bytes) -> bytes:
    """One message to the parent."""
    return struct.pack("<IB", len(body), kind) + body


def main() -> None:
    """Serve one request and exit."""
    # Whatever a library might print goes nowhere: the pipe carries frames only.
    pipe = os.dup(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    (size,) = struct.unpack("<I", _exactly(4))
    request = REQUEST.decode(_exactly(size))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _limit_process(request)

    def show(stream: str, data: bytes) -> None:
        for start in range(0, len(data), FRAME_BYTES_MAX):
            _send(pipe, frame(_KINDS[stream], data[start : start + FRAME_BYTES_MAX]))

    end = _serve(request, show, lambda: _send(pipe, frame(COMPILED, b"")))
    _send(pipe, frame(END, encode(end)))
    os._exit(0)


def _exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = os.read(0, size - len(data))
        if not block:
            os._exit(1)
        data += block
    return data


def _send(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(pipe, view) :]
        except BrokenPipeError:
            os._exit(1)


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _limit_process(request: Request) -> None:
    """Second line of defence: the kernel's own limits on this process."""
    data = request.memory_bytes + OVERHEAD_BYTES
    for kind, bound in (
        (resource.RLIMIT_DATA, data),
        (resource.RLIMIT_FSIZE, request.disk_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or bound < hard:
            resource.setrlimit(kind, (bound, bound))
    os.nice(5)


def _serve(request: Request, show: Callable[[str, bytes], None], compiled: Callable[[], None]) -> End:
    root = Path(request.input)
    module_path = root / MODULE_NAME
    code = module_path.read_bytes()
    if hashlib.sha256(code).digest() != request.module_digest:
        return _limited(Ending.OTHER, "the module changed after it was checked")
    if not code.startswith(BINARY_MAGIC):
        # The engine would also compile text, which is no module by anyone else's reading.
        return _limited(Ending.FORBIDDEN, "not a module of profile wasi/1: it is not in the binary format")
    listing = [
        (path.relative_to(root).as_posix(), -1 if path.is_dir() else status.st_size)
        for path, status in plain_files(root)
        if path != module_path
    ]
    files = Files(listing, root, Path(request.store), request.disk_bytes)
    engine = make_engine()
    store = make_store(engine, request.memory_bytes, request.fuel)
    mounts = (request.input_mount, request.output_mount)
    calls = Calls(store, files, mounts, request.arguments, request.environment, request.log_bytes_max, show)
    try:
        module = Module(engine, code)
    except WasmtimeError as error:
        return _limited(Ending.FORBIDDEN, f"not a module of profile wasi/1: {_first_line(error)}")
    compiled()
    end = _refuse_module(module, request) or _run(store, module, calls, files, request.memory_bytes)
    end = msgspec.structs.replace(end, fuel=request.fuel - store.get_fuel())
    if not end.by_itself:
        return end
    if files.used > request.output_bytes_max:
        return msgspec.structs.replace(
            end, exit_status=ENDING_STATUS[Ending.OUTPUT], ending=Ending.OUTPUT, by_itself=False
        )
    files.publish(Path(request.output))
    return msgspec.structs.replace(end, output_bytes=files.used)


def _limited(ending: Ending, detail: str) -> End:
    return End(ENDING_STATUS[ending], ending, detail, False, 0, 0)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _refuse_module(module: Module, request: Request) -> End | None:
    """Name what the module wants and no task gets, instead of the linker's first complaint."""
    for wanted in module.imports:
        if wanted.module != WASI_MODULE or wanted.name not in SIGNATURES:
            return _limited(Ending.FORBIDDEN, f"it imports {wanted.module}.{wanted.name}"[:300])
    exports = {export.name: export.type for export in module.exports}
    memory, start = exports.get("memory"), exports.get("_start")
    if not isinstance(memory, MemoryType) or not isinstance(start, FuncType):
        return _limited(Ending.FORBIDDEN, "it does not export 'memory' and the function '_start'")
    if start.params or start.results:
        return _limited(Ending.FORBIDDEN, "its '_start' has parameters or results")
    if memory.limits.min * PAGE_BYTES > request.memory_bytes:
        return _limited(Ending.MEMORY, "its memory is larger from the start than the task allows")
    return None


def _run(store: Store, module: Module, calls: Calls, files: Files, memory_bytes_max: int) -> End:
    """Instantiate, call `_start`, and say how it ended."""
    linker = Linker(store.engine)
    calls.define(linker)
    memory: Memory | None = None
    try:
        exports = linker.instantiate(store, module).exports(store)
        found, start = exports["memory"], exports["_start"]
        assert isinstance(found, Memory), "the module's exports were looked at before"
        assert isinstance(start, Func), "the module's exports were looked at before"
        calls.memory = memory = found
        start(store)
        status, detail = 0, ""
    except Exited as exited:
        status, detail = exited.status, ""
    except Limited as limited:
        return _limited(limited.ending, "")
    except Trap as trap:
        if trap.trap_code == TrapCode.OUT_OF_FUEL:
            return _limited(Ending.TIME, "the fuel is spent")
        status = WASI_TRAP_STATUS
        detail = trap.trap_code.name.lower() if trap.trap_code is not None else "trap"
    except WasmtimeError as error:
        return _limited(Ending.FORBIDDEN, f"it cannot be linked: {_first_line(error)}")
    ending = Ending.EXIT
    if status and files.was_full:
        ending = Ending.DISK
    elif status and memory is not None and _is_tight(memory.data_len(store), memory_bytes_max):
        # A refused growth is not reported by the engine, so this is inferred: it failed, and was full.
        ending = Ending.MEMORY
    return End(status, ending, detail, True, 0, 0)


def _is_tight(size: int, limit: int) -> bool:
    return size >= limit - limit // 8


if __name__ == "__main__":
    main()
