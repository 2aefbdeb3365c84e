"""What a wasi program's calls share: its memory, its fuel, its arguments, its unmoving clock.

Here: bounds-checked access to linear memory, the price of a call, the calls without files.
Not here: descriptors and paths (wasi_calls.py), limits of the whole run (wasi_worker.py).
Keeps: no access beyond the memory, no copy larger than a call may move, and no call for free: the
fuel bounds what the host does for a program as well.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from wasmtime import Memory, Store

from spark_node.runtimes.runtime import Ending
from spark_node.runtimes.wasi_files import E_FAULT, E_INVAL, E_NAMETOOLONG, PATH_BYTES_MAX, Refusal

CALL_FUEL = 20_000
"""Fuel of one call: roughly the instructions that run in the time it takes the host (20 to 50 µs)."""
BYTES_PER_FUEL = 4
"""Bytes that a call may move for one more unit of fuel."""
VECTORS_MAX = 1024
SUBSCRIPTIONS_MAX = 4096
RANDOM_BLOCK = 64
RANDOM_BYTES = 4096
"""Written at once."""
RANDOM_FUEL = 16
"""Of one random byte."""


class Exited(Exception):
    """The program called `proc_exit`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Limited(Exception):
    """A limit ended the program."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class Guest:
    """One program as its calls see it. `memory` is set once the module is instantiated."""

    def __init__(
        self, store: Store, arguments: tuple[str, ...], environment: tuple[tuple[str, str], ...]
    ) -> None:
        self.memory: Memory | None = None
        self._store = store
        self._arguments = [argument.encode() + b"\0" for argument in arguments]
        self._environment = [f"{name}={value}".encode() + b"\0" for name, value in environment]
        self._random_blocks = 0

    def _charge(self, fuel: int) -> None:
        left = self._store.get_fuel()
        self._store.set_fuel(max(0, left - fuel))
        if left < fuel:
            raise Limited(Ending.TIME)

    def _read(self, pointer: int, size: int) -> bytes:
        if self.memory is None or pointer + size > self.memory.data_len(self._store):
            raise Refusal(E_FAULT)
        self._charge(size // BYTES_PER_FUEL)
        return bytes(self.memory.read(self._store, pointer, pointer + size)) if size else b""

    def _write(self, pointer: int, data: bytes) -> None:
        if self.memory is None or pointer + len(data) > self.memory.data_len(self._store):
            raise Refusal(E_FAULT)
        self._charge(len(data) // BYTES_PER_FUEL)
        if data:
            self.memory.write(self._store, data, pointer)

    def _path(self, pointer: int, size: int) -> bytes:
        if size > PATH_BYTES_MAX:
            raise Refusal(E_NAMETOOLONG)
        return self._read(pointer, size)

    def _u32(self, pointer: int, value: int) -> None:
        self._write(pointer, struct.pack("<I", value))

    def _u64(self, pointer: int, value: int) -> None:
        self._write(pointer, struct.pack("<Q", value))

    def _vectors(self, pointer: int, count: int) -> list[tuple[int, int]]:
        if count > VECTORS_MAX:
            raise Refusal(E_INVAL)
        return list(struct.iter_unpack("<II", self._read(pointer, 8 * count)))

    # ---------------------------------------------------------------- process, time, chance

    def args_sizes_get(self, count: int, size: int) -> None:
        self._u32(count, len(self._arguments))
        self._u32(size, sum(map(len, self._arguments)))

    def args_get(self, pointers: int, buffer: int) -> None:
        self._strings(self._arguments, pointers, buffer)

    def environ_sizes_get(self, count: int, size: int) -> None:
        self._u32(count, len(self._environment))
        self._u32(size, sum(map(len, self._environment)))

    def environ_get(self, pointers: int, buffer: int) -> None:
        self._strings(self._environment, pointers, buffer)

    def _strings(self, strings: list[bytes], pointers: int, buffer: int) -> None:
        for index, string in enumerate(strings):
            self._u32(pointers + 4 * index, buffer)
            self._write(buffer, string)
            buffer += len(string)

    def proc_exit(self, status: int) -> None:
        raise Exited(status)

    def proc_raise(self, number: int) -> None:
        raise Exited(128 + (number & 0x7F))

    def sched_yield(self) -> None:
        """There is nobody to yield to."""

    def clock_res_get(self, clock: int, out: int) -> None:
        self._u64(out, 1)

    def clock_time_get(self, clock: int, precision: int, out: int) -> None:
        self._u64(out, 0)

    def random_get(self, pointer: int, size: int) -> None:
        """BLAKE2b of a counter: the same bytes in every run, as all that must agree needs them."""
        self._charge(size * RANDOM_FUEL)
        for start in range(0, size, RANDOM_BYTES):
            blocks = []
            for _ in range(RANDOM_BYTES // RANDOM_BLOCK):
                counter = self._random_blocks.to_bytes(8, "big")
                blocks.append(blake2b(counter, person=b"EUB-wasi-random").digest())
                self._random_blocks += 1
                if len(blocks) * RANDOM_BLOCK >= size - start:
                    break
            self._write(pointer + start, b"".join(blocks)[: size - start])

    def poll_oneoff(self, subscriptions: int, events: int, count: int, out: int) -> None:
        """Everything has already happened: clocks have rung, files and streams are ready."""
        if not 0 < count <= SUBSCRIPTIONS_MAX:
            raise Refusal(E_INVAL)
        for index in range(count):
            userdata, kind = struct.unpack("<QB", self._read(subscriptions + 48 * index, 9))
            self._write(events + 32 * index, struct.pack("<QHB5xQH6x", userdata, 0, kind, 0, 0))
        self._u32(out, count)
