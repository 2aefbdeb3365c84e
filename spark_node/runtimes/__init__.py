"""Where strangers' programs run: one interface (runtime), WebAssembly (wasi), containers (docker)."""
