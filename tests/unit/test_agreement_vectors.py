"""The published vectors of agreement, read by another implementation: msgpack, hashlib, coincurve."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

import msgpack
import pytest
from coincurve import PublicKeyXOnly

from consensus.agreement.inputs import INPUT
from consensus.types.codec import encode
from tests.vectors.generate_agreement import vectors

FILE = Path(__file__).parents[1] / "vectors" / "agreement.json"
VECTORS = json.loads(FILE.read_text())
GENESIS = bytes.fromhex(VECTORS["genesis"])
KEYS = [bytes.fromhex(key) for key in VECTORS["keys"]]


def test_the_vectors_are_what_the_code_makes_today():
    """A change that moves one says so in its commit."""
    assert vectors() == VECTORS


@pytest.mark.parametrize("row", VECTORS["messages"], ids=lambda row: row["words"])
def test_a_message_is_signed_as_the_vectors_say(row: dict[str, str]):
    """Decoded, put together, hashed and verified without the chain's own code."""
    fields = msgpack.unpackb(bytes.fromhex(row["encoding"]), use_list=True)
    if "proposal" in row["words"]:
        height, round_, block_id, valid_round, signature = fields
        said, signed = [0, height, round_, block_id, valid_round], [(KEYS[0], signature)]
    elif "commit by" in row["words"]:
        kind, height, round_, block_id, bitmap, signatures = fields
        assert bitmap == b"\x0d"
        said = [kind, height, round_, block_id]
        signed = list(zip([KEYS[0], KEYS[2], KEYS[3]], signatures, strict=True))
    else:
        kind, height, round_, block_id, validator, signature = fields
        said, signed = [kind, height, round_, block_id], [(KEYS[validator], signature)]
    digest = blake2b(GENESIS + msgpack.packb(said), digest_size=32, person=b"EUB-vote").digest()
    assert digest.hex() == row["sign_hash"]
    for key, signature in signed:
        assert PublicKeyXOnly(key).verify(signature, digest)


@pytest.mark.parametrize("row", VECTORS["inputs"], ids=lambda row: row["words"])
def test_an_input_is_logged_as_the_vectors_say(row: dict[str, str]):
    """An older release's log can be read: tags and order of fields are fixed."""
    data = bytes.fromhex(row["encoding"])
    event = INPUT.decode(data)
    assert type(event).__name__ == row["words"]
    assert encode(event) == data
    assert msgpack.packb(msgpack.unpackb(data)) == data
