"""The program of a first task: it greets, counts, and leaves a file, on any spark and without input.

Here: its text in WebAssembly's text form, and the module made of it. Not here: real examples (examples/).
Keeps: it needs nothing but the two mounts of every task, so that `task init` and `task run` always work.
"""

from __future__ import annotations

from wasmtime import wat2wasm

FIRST_PROGRAM_NAME = "first.wasm"
RESULT_NAME = "hello.txt"

FIRST_PROGRAM = r"""
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "hello from a spark\n")
  (data (i32.const 1088) "EUB_PROGRESS 1/2\n")
  (data (i32.const 1120) "EUB_PROGRESS 2/2\n")
  (data (i32.const 1152) "hello.txt")

  ;; Write `size` bytes at `start` to a descriptor: 1 is what the requester sees while it runs.
  (func $say (param $descriptor i32) (param $start i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $start))
    (i32.store (i32.const 4) (local.get $size))
    (if (call $write (local.get $descriptor) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $exit (i32.const 1)))))

  (func (export "_start")
    (call $say (i32.const 1) (i32.const 1024) (i32.const 19))
    (call $say (i32.const 1) (i32.const 1088) (i32.const 17))
    ;; Descriptor 4 is /output: a new file (1) for writing (64).
    (if (call $open (i32.const 4) (i32.const 0) (i32.const 1152) (i32.const 9) (i32.const 1)
          (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 12))
      (then (call $exit (i32.const 2))))
    (call $say (i32.load (i32.const 12)) (i32.const 1024) (i32.const 19))
    (drop (call $close (i32.load (i32.const 12))))
    (call $say (i32.const 1) (i32.const 1120) (i32.const 17))))
"""


def first_program() -> bytes:
    """The module."""
    return bytes(wat2wasm(FIRST_PROGRAM))
