"""`chain_getLightBlock`, `chain_getProof`: what a client checks for itself instead of believing a node.

Here: light blocks and proofs of state entries. Not here: checking them (consensus/light.py,
consensus/types/tree_proof.py), which a client does (eubchain/client/light.py).
Keeps: a proof's height has its light block in the same answer, so both are of one state.
Errors: 2321 proof_out_of_reach, 2322 light_block_missing.
"""

from __future__ import annotations

from consensus.types.address import parse_address
from consensus.types.codec import encode
from consensus.types.errors import Fault, Reason
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import INVALID_PARAMETERS, AddressText, Hex, View, method
from vm.funds import ACCOUNTS

KEY_BYTES_MAX = 256

PROOF_OUT_OF_REACH = Reason(
    2321,
    "proof_out_of_reach",
    "height:height head:height",
    "This node proves no entry at height {height}: it is not the head {head}, or too much changed since.",
    "Ask without a height, for the head.",
)
LIGHT_BLOCK_MISSING = Reason(
    2322,
    "light_block_missing",
    "height:height head:height",
    "Height {height} has no header with its commit here; the head is {head}.",
    "Ask for the last height of an epoch, or a node that prunes nothing.",
)


class LightBlockView(View):
    """A header with its commit and validator set."""

    height: int
    light_block: Hex
    """Canonical encoding: [header, commit, validators]."""


@method("chain_getLightBlock", example={"height": 1})
async def get_light_block(backend: Backend, height: int | None = None) -> LightBlockView:
    """A height's header, commit and validators, for light clients; the head's without a height."""
    ledger = backend.ledger()
    chosen = ledger.height if height is None else height
    found = ledger.light_block(chosen)
    if found is None:
        raise Fault(LIGHT_BLOCK_MISSING, height=chosen, head=ledger.height)
    return LightBlockView(height=chosen, light_block="0x" + encode(found).hex())


class ProofView(View):
    """A state entry or its absence, provable against the header beside it."""

    height: int
    key: Hex
    value: Hex | None
    """The record's canonical encoding; null when there is none."""
    proof: Hex
    """Canonical encoding: [bucket, path]."""
    light_block: Hex


@method("chain_getProof", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def get_proof(
    backend: Backend,
    address: AddressText | None = None,
    key: Hex | None = None,
    height: int | None = None,
) -> ProofView:
    """Prove an account's record, or any state entry by its key, at the head or shortly before.

    A key is the namespace's byte and what follows; docs/protocol.md lists the namespaces.
    """
    if (address is None) == (key is None):
        raise Fault(INVALID_PARAMETERS, method="chain_getProof", why="name an address or a key")
    if address is not None:
        wanted = ACCOUNTS.prefix + parse_address(address, backend.prefix)
    else:
        wanted = bytes.fromhex((key or "0x").removeprefix("0x"))
    if not 0 < len(wanted) <= KEY_BYTES_MAX:
        why = f"a key has 1 to {KEY_BYTES_MAX} bytes"
        raise Fault(INVALID_PARAMETERS, method="chain_getProof", why=why)
    ledger = backend.ledger()
    found = backend.proof(wanted, height)
    if found is None:
        raise Fault(PROOF_OUT_OF_REACH, height=height or 0, head=ledger.height)
    block = ledger.light_block(found.height)
    if block is None:
        raise Fault(LIGHT_BLOCK_MISSING, height=found.height, head=ledger.height)
    return ProofView(
        height=found.height,
        key="0x" + wanted.hex(),
        value=None if found.value is None else "0x" + found.value.hex(),
        proof="0x" + encode(found.proof).hex(),
        light_block="0x" + encode(block).hex(),
    )
