"""The RPC methods, a file per namespace; importing this declares them all."""

from eubchain.rpc.methods import account, chain, light, net, por, spark, task, tx, validator

__all__ = ["account", "chain", "light", "net", "por", "spark", "task", "tx", "validator"]
