"""The process that checks signatures: reads framed batches on stdin, answers on stdout.

Here: the loop of one worker, run as `python -m eubchain.node.verify_worker GENESIS_HEX`.
Not here: the pool that feeds it (workers.py).
Why a process: a coincurve call gives the interpreter lock up and waits 5 ms to get it back beside a
busy Python thread, so a thread manages 200 checks a second where a process manages 37,000.
Keeps: answers in the order of the questions; imports nothing that needs much memory.
"""

from __future__ import annotations

import sys
from typing import BinaryIO

import msgspec

from consensus.types.codec import Codec, encode
from consensus.types.errors import Rejected
from consensus.types.keys import verify
from consensus.types.transaction import (
    SignatureCheck,
    Transaction,
    auth_checks,
    sign_hash,
    signer_address,
    txid_of,
    wtxid_of,
)

TRANSACTIONS, SIGNATURES = 1, 2
"""Kinds of batch: whole transactions, or bare (key, message, signature)."""
VERDICT_BYTES = 65
"""Of a transaction: a flag, the txid, the wtxid."""

ENVELOPE = Codec[Transaction[msgspec.Raw]](Transaction[msgspec.Raw])


def transaction_verdict(raw: bytes, genesis: bytes) -> bytes:
    """Whether the sender's keys signed it, and its identities; zeros when it is not a transaction."""
    try:
        transaction = ENVELOPE.decode(raw)
        body, auth = encode(transaction.body), transaction.auth
        checks = auth_checks(auth, sign_hash(genesis, body))
        ok = signer_address(auth) == transaction.body.sender
    except Rejected:
        return bytes(VERDICT_BYTES)
    ok = ok and all(verify(c.key, c.message, c.signature) for c in checks)
    return (b"\x01" if ok else b"\x00") + txid_of(genesis, body) + wtxid_of(raw)


def answer(kind: int, items: list[bytes], genesis: bytes) -> bytes:
    """The answer to one batch."""
    if kind == TRANSACTIONS:
        return b"".join(transaction_verdict(raw, genesis) for raw in items)
    assert kind == SIGNATURES, "the pool sends two kinds"
    checks = [SignatureCheck(item[:32], item[32:64], item[64:]) for item in items]
    return bytes(verify(c.key, c.message, c.signature) for c in checks)


def serve(source: BinaryIO, sink: BinaryIO, genesis: bytes) -> None:
    """Answer until stdin closes."""
    decoder = msgspec.msgpack.Decoder(tuple[int, list[bytes]])
    while len(head := source.read(4)) == 4:
        kind, items = decoder.decode(source.read(int.from_bytes(head, "big")))
        body = answer(kind, items, genesis)
        sink.write(len(body).to_bytes(4, "big") + body)
        sink.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, bytes.fromhex(sys.argv[1]))
