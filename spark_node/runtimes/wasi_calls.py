"""The system calls of profile `wasi/1`: WASI preview 1 without clock, randomness or network.

Here: linking, open descriptors, calls on descriptors and paths.
Not here: memory, fuel and calls without files (wasi_guest.py), the files behind them (wasi_files.py),
engine, limits and process (wasi_worker.py).
Keeps: every answer depends on the program and its input alone. Clocks stand at 0 and sleeping returns
at once; random bytes are the same for every run; descriptors are the lowest free numbers; files have
neither times nor owners. What a program prints is counted here, and one byte too many ends it.

The engine's own WASI is not used: it shows the host's inode numbers, file times and directory order,
so a program could make two honest sparks disagree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from wasmtime import FuncType, Linker, Store, ValType

from spark_node.runtimes.runtime import Ending
from spark_node.runtimes.wasi_files import (
    E_BADF,
    E_EXIST,
    E_INVAL,
    E_ISDIR,
    E_MFILE,
    E_NOSYS,
    E_NOTDIR,
    E_NOTSUP,
    E_ROFS,
    E_SPIPE,
    Directory,
    File,
    Files,
    Refusal,
)
from spark_node.runtimes.wasi_guest import CALL_FUEL, Guest, Limited
from spark_node.runtimes.wasi_profile import SIGNATURES, WASI_MODULE

MOVE_BYTES_MAX = 2**20
"""Bytes per vector; preview 1 lets reads and writes be short, and the host copies what is moved."""
DESCRIPTORS_MAX = 512
OFFSET_MAX = 2**62
_TYPES = {"i": ValType.i32, "I": ValType.i64}
_REGULAR, _DIRECTORY, _TERMINAL = 4, 3, 2
_RIGHTS_ALL = 2**29 - 1
_RIGHTS_TERMINAL = (1 << 6) | (1 << 3)
"""Write and fdstat_set_flags; without seek and tell, libc takes it for a terminal and prints by lines."""
_RIGHT_READ, _RIGHT_WRITE = 1 << 1, 1 << 6
_CREATE, _DIRECTORY_ONLY, _EXCLUSIVE, _TRUNCATE = 1, 2, 4, 8
_APPEND = 1


class Descriptor:
    """An open descriptor: a stream (1, 2), a directory, or a file with its offset."""

    __slots__ = ("append", "mount", "node", "offset", "readable", "stream", "writable")

    def __init__(self, node: File | Directory | None, stream: str = "", mount: bytes = b"") -> None:
        self.node, self.stream, self.mount = node, stream, mount
        self.offset = 0
        self.append = False
        self.readable = self.writable = True


class Calls(Guest):
    """One program's system interface."""

    def __init__(
        self,
        store: Store,
        files: Files,
        mounts: tuple[str, str],
        arguments: tuple[str, ...],
        environment: tuple[tuple[str, str], ...],
        printed_max: int,
        show: Callable[[str, bytes], None],
    ) -> None:
        super().__init__(store, arguments, environment)
        self.printed = 0
        self._files, self._show, self._printed_max = files, show, printed_max
        self._descriptors: dict[int, Descriptor] = {
            0: Descriptor(None, "in"),
            1: Descriptor(None, "out"),
            2: Descriptor(None, "err"),
            3: Descriptor(files.input, mount=mounts[0].encode()),
            4: Descriptor(files.output, mount=mounts[1].encode()),
        }

    def define(self, linker: Linker) -> None:
        """Give the linker every call of preview 1; those a task has no use for answer `NOSYS`."""
        for name, signature in SIGNATURES.items():
            results = [] if name == "proc_exit" else [ValType.i32()]
            kind = FuncType([_TYPES[letter]() for letter in signature], results)
            linker.define_func(WASI_MODULE, name, kind, self._bind(name, signature))

    def _bind(self, name: str, signature: str) -> Callable[..., int | None]:
        method: Callable[..., None] | None = getattr(self, name, None)
        masks = [0xFFFFFFFF if letter == "i" else 0xFFFFFFFFFFFFFFFF for letter in signature]

        def call(*raw: int) -> int | None:
            self._charge(CALL_FUEL)
            if method is None:
                return E_NOSYS
            try:
                method(*(value & mask for value, mask in zip(raw, masks, strict=True)))
            except Refusal as refusal:
                return refusal.number
            return 0

        return call

    def _descriptor(self, number: int) -> Descriptor:
        found = self._descriptors.get(number)
        if found is None:
            raise Refusal(E_BADF)
        return found

    def _file(self, number: int) -> tuple[Descriptor, File]:
        found = self._descriptor(number)
        if isinstance(found.node, Directory):
            raise Refusal(E_ISDIR)
        if found.node is None:
            raise Refusal(E_SPIPE)
        return found, found.node

    def _directory(self, number: int) -> Directory:
        found = self._descriptor(number).node
        if not isinstance(found, Directory):
            raise Refusal(E_NOTDIR if isinstance(found, File) else E_BADF)
        return found

    # ---------------------------------------------------------------- descriptors

    def fd_prestat_get(self, number: int, out: int) -> None:
        found = self._descriptor(number)
        if not found.mount:
            raise Refusal(E_BADF)
        self._write(out, struct.pack("<II", 0, len(found.mount)))

    def fd_prestat_dir_name(self, number: int, pointer: int, size: int) -> None:
        found = self._descriptor(number)
        if not found.mount:
            raise Refusal(E_BADF)
        if size < len(found.mount):
            raise Refusal(E_INVAL)
        self._write(pointer, found.mount)

    def fd_fdstat_get(self, number: int, out: int) -> None:
        found = self._descriptor(number)
        kind, rights = _TERMINAL, _RIGHTS_TERMINAL
        if found.node is not None:
            kind = _DIRECTORY if isinstance(found.node, Directory) else _REGULAR
            rights = _RIGHTS_ALL
        self._write(out, struct.pack("<BxH4xQQ", kind, int(found.append), rights, rights))

    def fd_fdstat_set_flags(self, number: int, flags: int) -> None:
        self._descriptor(number).append = bool(flags & _APPEND)

    def fd_filestat_get(self, number: int, out: int) -> None:
        self._stat(self._descriptor(number).node, out)

    def _stat(self, node: File | Directory | None, out: int) -> None:
        inode, kind, size = 0, _TERMINAL, 0
        if isinstance(node, Directory):
            inode, kind = node.inode, _DIRECTORY
        elif node is not None:
            inode, kind, size = node.inode, _REGULAR, node.size
        self._write(out, struct.pack("<QQB7xQQQQQ", 0, inode, kind, 1, size, 0, 0, 0))

    def fd_filestat_set_size(self, number: int, size: int) -> None:
        found, file = self._file(number)
        if not found.writable:
            raise Refusal(E_BADF)
        if size > OFFSET_MAX:
            raise Refusal(E_INVAL)
        self._files.resize(file, size)

    def fd_allocate(self, number: int, offset: int, size: int) -> None:
        raise Refusal(E_NOTSUP)

    def fd_filestat_set_times(self, number: int, accessed: int, modified: int, flags: int) -> None:
        self._descriptor(number)

    def fd_advise(self, number: int, offset: int, size: int, advice: int) -> None:
        self._file(number)

    def fd_sync(self, number: int) -> None:
        self._descriptor(number)

    def fd_datasync(self, number: int) -> None:
        self._descriptor(number)

    def fd_close(self, number: int) -> None:
        found = self._descriptor(number)
        del self._descriptors[number]
        if isinstance(found.node, File):
            self._files.close(found.node)

    def fd_renumber(self, number: int, target: int) -> None:
        found = self._descriptor(number)
        self._descriptor(target)
        if number != target:
            self.fd_close(target)
            self._descriptors[target] = found
            del self._descriptors[number]

    def fd_seek(self, number: int, delta: int, whence: int, out: int) -> None:
        found, file = self._file(number)
        signed = delta - 2**64 if delta >= 2**63 else delta
        if whence > 2:
            raise Refusal(E_INVAL)
        position = (0, found.offset, file.size)[whence] + signed
        if not 0 <= position <= OFFSET_MAX:
            raise Refusal(E_INVAL)
        found.offset = position
        self._u64(out, position)

    def fd_tell(self, number: int, out: int) -> None:
        self._u64(out, self._file(number)[0].offset)

    def fd_read(self, number: int, vectors: int, count: int, out: int) -> None:
        found = self._descriptor(number)
        if found.stream == "in":
            self._u32(out, 0)
            return
        found, file = self._file(number)
        moved = self._scatter(found, file, found.offset, vectors, count)
        found.offset += moved
        self._u32(out, moved)

    def fd_pread(self, number: int, vectors: int, count: int, offset: int, out: int) -> None:
        found, file = self._file(number)
        self._u32(out, self._scatter(found, file, offset, vectors, count))

    def _scatter(self, found: Descriptor, file: File, offset: int, vectors: int, count: int) -> int:
        if not found.readable:
            raise Refusal(E_BADF)
        moved = 0
        for pointer, size in self._vectors(vectors, count):
            data = self._files.read(file, offset + moved, min(size, MOVE_BYTES_MAX))
            self._write(pointer, data)
            moved += len(data)
            if len(data) < size:
                break
        return moved

    def fd_write(self, number: int, vectors: int, count: int, out: int) -> None:
        found = self._descriptor(number)
        if found.stream:
            self._u32(out, self._print(found.stream, vectors, count))
            return
        found, file = self._file(number)
        offset = file.size if found.append else found.offset
        moved = self._gather(found, file, offset, vectors, count)
        found.offset = offset + moved
        self._u32(out, moved)

    def fd_pwrite(self, number: int, vectors: int, count: int, offset: int, out: int) -> None:
        found, file = self._file(number)
        self._u32(out, self._gather(found, file, offset, vectors, count))

    def _gather(self, found: Descriptor, file: File, offset: int, vectors: int, count: int) -> int:
        if not found.writable:
            raise Refusal(E_BADF)
        moved = 0
        for pointer, size in self._vectors(vectors, count):
            data = self._read(pointer, min(size, MOVE_BYTES_MAX))
            # Refused as a whole only if nothing at all could be written.
            try:
                written = self._files.write(file, offset + moved, data)
            except Refusal:
                if moved:
                    break
                raise
            moved += written
            if written < size:
                break
        return moved

    def _print(self, stream: str, vectors: int, count: int) -> int:
        if stream == "in":
            raise Refusal(E_BADF)
        moved = 0
        for pointer, size in self._vectors(vectors, count):
            data = self._read(pointer, min(size, MOVE_BYTES_MAX))
            self._show(stream, data[: max(0, self._printed_max - self.printed)])
            self.printed += len(data)
            moved += len(data)
            if self.printed > self._printed_max:
                raise Limited(Ending.OUTPUT)
            if len(data) < size:
                break
        return moved

    def fd_readdir(self, number: int, buffer: int, size: int, cookie: int, out: int) -> None:
        """Entries from `cookie` on, the last one cut where the buffer ends (as preview 1 wants it)."""
        place = self._directory(number)
        listing = place.listing()
        self._charge(len(listing) * 8)
        block = bytearray()
        for index in range(cookie, len(listing)):
            name, node = listing[index]
            spelled = name.encode()
            kind = _DIRECTORY if isinstance(node, Directory) else _REGULAR
            block += struct.pack("<QQIB3x", index + 1, node.inode, len(spelled), kind) + spelled
            if len(block) >= size:
                break
        self._write(buffer, bytes(block[:size]))
        self._u32(out, min(len(block), size))

    # ---------------------------------------------------------------- paths

    def path_open(
        self,
        number: int,
        lookup: int,
        path: int,
        path_size: int,
        flags: int,
        rights: int,
        inherited: int,
        descriptor_flags: int,
        out: int,
    ) -> None:
        spelled = self._path(path, path_size)
        parent, name = self._files.resolve(self._directory(number), spelled)
        node = parent if name == "." else parent.entries.get(name)
        if node is not None and flags & _CREATE and flags & _EXCLUSIVE:
            raise Refusal(E_EXIST)
        wants_write = bool(rights & _RIGHT_WRITE) or bool(flags & _TRUNCATE)
        if len(self._descriptors) >= DESCRIPTORS_MAX:
            raise Refusal(E_MFILE)
        if node is None and flags & _CREATE and not flags & _DIRECTORY_ONLY and spelled[-1:] != b"/":
            node = self._files.create(parent, name, directory=False)
        if node is None:
            node = self._files.find(parent, name.encode())
        if isinstance(node, File) and (flags & _DIRECTORY_ONLY or spelled[-1:] == b"/"):
            raise Refusal(E_NOTDIR)
        if isinstance(node, Directory) and flags & (_CREATE | _TRUNCATE):
            raise Refusal(E_ISDIR)
        if isinstance(node, File) and wants_write and not node.writable:
            raise Refusal(E_ROFS)
        opened = Descriptor(node)
        opened.append = bool(descriptor_flags & _APPEND)
        if isinstance(node, File):
            opened.readable, opened.writable = bool(rights & _RIGHT_READ), bool(rights & _RIGHT_WRITE)
            self._files.open(node)
            if flags & _TRUNCATE:
                self._files.resize(node, 0)
        # The lowest free number, as POSIX has it and as every run repeats it.
        lowest = next(n for n in range(DESCRIPTORS_MAX) if n not in self._descriptors)
        self._descriptors[lowest] = opened
        self._u32(out, lowest)

    def path_filestat_get(self, number: int, lookup: int, path: int, path_size: int, out: int) -> None:
        self._stat(self._files.find(self._directory(number), self._path(path, path_size)), out)

    def path_filestat_set_times(
        self, number: int, lookup: int, path: int, path_size: int, accessed: int, modified: int, flags: int
    ) -> None:
        self._files.find(self._directory(number), self._path(path, path_size))

    def path_create_directory(self, number: int, path: int, path_size: int) -> None:
        parent, name = self._files.resolve(self._directory(number), self._path(path, path_size))
        self._files.create(parent, name, directory=True)

    def path_remove_directory(self, number: int, path: int, path_size: int) -> None:
        parent, name = self._files.resolve(self._directory(number), self._path(path, path_size))
        self._files.remove(parent, name, directory=True)

    def path_unlink_file(self, number: int, path: int, path_size: int) -> None:
        parent, name = self._files.resolve(self._directory(number), self._path(path, path_size))
        self._files.remove(parent, name, directory=False)

    def path_rename(
        self, number: int, path: int, path_size: int, other: int, target: int, target_size: int
    ) -> None:
        source, old = self._files.resolve(self._directory(number), self._path(path, path_size))
        place, new = self._files.resolve(self._directory(other), self._path(target, target_size))
        self._files.rename(source, old, place, new)

    def path_readlink(self, number: int, path: int, path_size: int, buffer: int, size: int, out: int) -> None:
        self._files.find(self._directory(number), self._path(path, path_size))
        raise Refusal(E_INVAL)

    def path_symlink(self, old: int, old_size: int, number: int, path: int, path_size: int) -> None:
        raise Refusal(E_NOTSUP)

    def path_link(
        self, number: int, lookup: int, path: int, size: int, other: int, target: int, target_size: int
    ) -> None:
        raise Refusal(E_NOTSUP)
