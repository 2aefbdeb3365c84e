"""Profile `wasi/1`: which WebAssembly and which system calls a task may use, pinned.

Here: the engine's switches, the store's bounds, the signatures of WASI preview 1.
Not here: what the calls do (wasi_calls.py).
Keeps: whatever could differ between two machines is off: threads, relaxed SIMD, garbage collection,
NaN payloads; fuel counts the same for one major version of the engine. Known gap: how deep recursion
may go before the stack overflows depends on the processor's architecture.
"""

from __future__ import annotations

from wasmtime import Config, Engine, Store

WASI_MODULE = "wasi_snapshot_preview1"
STACK_BYTES = 2**20
TABLE_ELEMENTS_MAX = 2**20
TABLES_MAX = 16
MODULE_BYTES_MAX = 64 * 2**20
"""Compiling costs many times the module's size in memory."""


def make_engine() -> Engine:
    """An engine for one run: never cached, never shared."""
    config = Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.wasm_threads = False
    config.shared_memory = False
    config.wasm_relaxed_simd = False
    config.wasm_simd = True
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.wasm_multi_value = True
    config.wasm_bulk_memory = True
    config.wasm_reference_types = True
    config.wasm_tail_call = False
    config.wasm_function_references = False
    config.wasm_gc = False
    config.wasm_exceptions = False
    config.wasm_wide_arithmetic = False
    config.wasm_custom_page_sizes = False
    config.wasm_stack_switching = False
    config.wasm_component_model = False
    # One compiling thread, so that a hostile module takes one core and bounded memory.
    config.parallel_compilation = False
    config.max_wasm_stack = STACK_BYTES
    return Engine(config)


def make_store(engine: Engine, memory_bytes: int, fuel: int) -> Store:
    """A store that refuses to grow beyond its bounds and stops when the fuel is spent."""
    store = Store(engine)
    store.set_limits(
        memory_size=memory_bytes,
        table_elements=TABLE_ELEMENTS_MAX,
        instances=1,
        tables=TABLES_MAX,
        memories=1,
    )
    store.set_fuel(fuel)
    return store


SIGNATURES = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "random_get": "ii",
    "sched_yield": "",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}
"""Parameters of each call: i is a 32-bit integer, I a 64-bit one. What has no method answers NOSYS."""
