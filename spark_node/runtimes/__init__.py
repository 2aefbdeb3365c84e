"""Where strangers' programs run: one interface (`runtime`), WebAssembly (`wasi`) and containers (`docker`)."""
