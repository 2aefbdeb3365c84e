"""The RPC methods, a file per namespace."""
