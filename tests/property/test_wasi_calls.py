"""The system calls of a wasi program under arguments that no honest program passes.

Whatever comes, a call answers with an error number, ends the program, or ends it at a limit; it never
raises what would look like a fault of the spark, and never touches what lies outside the memory.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from wasmtime import Instance, Memory, Module

from spark_node.runtimes.wasi_calls import Calls
from spark_node.runtimes.wasi_files import Files
from spark_node.runtimes.wasi_guest import Exited, Limited
from spark_node.runtimes.wasi_profile import SIGNATURES, make_engine, make_store

MEMORY_BYTES = 65536
DISK_BYTES = 10_000
POINTERS = st.one_of(
    st.integers(0, 8),
    st.sampled_from([64, 128, 256, 65528, 65535, 65536, 2**31 - 1, -(2**31), -1]),
    st.integers(-(2**31), 2**31 - 1),
)
LONGS = st.one_of(st.integers(0, 100), st.sampled_from([2**62, 2**63 - 1, -(2**63), -1]))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[int]]:
    """A call's name and arguments of the right kinds and any value."""
    name = draw(st.sampled_from(sorted(SIGNATURES)))
    return name, [draw(POINTERS if kind == "i" else LONGS) for kind in SIGNATURES[name]]


@given(st.lists(calls(), min_size=1, max_size=40), st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_no_argument_breaks_a_call(sequence, content):
    """Random calls on memory that holds random bytes, with a few names to meet."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "store").mkdir()
        (root / "a").write_bytes(b"input")
        files = Files([("a", 5)], root, root / "store", DISK_BYTES)
        engine = make_engine()
        store = make_store(engine, MEMORY_BYTES, 10**12)
        text = '(module (memory (export "memory") 1))'
        memory = Instance(store, Module(engine, text), []).exports(store)["memory"]
        assert isinstance(memory, Memory)
        memory.write(store, b"a/b\0../a\0\0\0" + content, 0)
        shown: list[bytes] = []
        made = Calls(
            store,
            files,
            ("/input", "/output"),
            ("x",),
            (("A", "b"),),
            1000,
            lambda _, data: shown.append(data),
        )
        made.memory = memory
        for name, arguments in sequence:
            try:
                answer = made._bind(name, SIGNATURES[name])(*arguments)
            except (Exited, Limited):
                continue
            assert answer is not None
            assert 0 <= answer <= 76
        assert memory.data_len(store) == MEMORY_BYTES
        assert files.used <= DISK_BYTES
        assert sum(map(len, shown)) <= 1000
        assert (root / "a").read_bytes() == b"input"
        assert sorted(os.listdir(root)) == ["a", "store"]
        for descriptor in made._descriptors.values():
            if getattr(descriptor.node, "handle", -1) >= 0:
                os.close(descriptor.node.handle)
                descriptor.node.handle = -1
