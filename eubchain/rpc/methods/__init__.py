"""The RPC methods, a file per namespace; importing this declares them all."""

from eubchain.rpc.methods import (
    account,
    chain,
    claims,
    light,
    net,
    por,
    ranking,
    shares,
    snapshot,
    spark,
    task,
    tx,
    validator,
)

__all__ = [
    "account",
    "chain",
    "claims",
    "light",
    "net",
    "por",
    "ranking",
    "shares",
    "snapshot",
    "spark",
    "task",
    "tx",
    "validator",
]
