"""What every implementation must refuse: encodings, envelopes and addresses that are almost right.

Here: each wrong in one way, with the error that says so. Not here: the file (generate_encodings.py).
"""

from __future__ import annotations

from typing import Any

import msgpack
from msgspec.structs import replace

from consensus.types.address import format_address
from consensus.types.codec import encode
from consensus.types.transaction import (
    Body,
    EvidenceAuth,
    KeyAuth,
    MultisigAuth,
    Transaction,
)
from tests.vectors.sample_transactions import (
    ALICE,
    BOB,
    CHAIN_ID,
    KEYS,
    evidence_samples,
    signed_by_one,
    signed_by_several,
)
from vm.account import Transfer


def refused_encodings() -> list[dict[str, Any]]:
    """What no decoder takes for a transaction: wrong as msgpack (`form`), or of a wrong `schema`."""
    sound = signed_by_one(3, Transfer(BOB, 1_000))
    raw = encode(sound)
    body, auth = msgpack.unpackb(raw, raw=False)
    found: list[tuple[str, str, bytes]] = []

    def changed(words: str, index: int, value: Any, fault: str = "schema") -> None:
        new = [*body[:index], value, *body[index + 1 :]]
        found.append((words, fault, msgpack.packb([new, auth])))

    def spliced(words: str, old: bytes, new: bytes) -> None:
        assert raw.count(old) == 1, words
        found.append((words, "form", raw.replace(old, new)))

    name = b"\xaf" + CHAIN_ID.encode()
    spliced("an integer in two bytes that fits one", ALICE + b"\x3f", ALICE + b"\xcc\x3f")
    spliced("an integer in nine bytes that fits three", b"\xcd\x03\xe8", b"\xcf" + (1_000).to_bytes(8, "big"))
    spliced("a text with a longer length", name, b"\xd9\x0f" + CHAIN_ID.encode())
    spliced("bytes with a longer length", b"\xc4\x14" + ALICE, b"\xc5\x00\x14" + ALICE)
    spliced("an array with a longer length", b"\x93\x01\xc4\x14", b"\xdc\x00\x03\x01\xc4\x14")
    spliced("text that is no UTF-8", name, b"\xafeub-dev-vector\xff")
    found.append(("a byte too many", "form", raw + b"\x00"))
    found.append(("a byte too few", "form", raw[:-1]))
    found.append(("nothing", "form", b""))
    changed("a negative integer", 3, -1, "form")
    changed("an integer of 64 bits", 3, 2**63, "form")
    changed("a floating-point number", 3, 1.0, "form")
    changed("a map", 7, {}, "form")
    changed("an extension", 7, msgpack.ExtType(1, b"x"), "form")
    changed("true for one", 0, True)
    changed("nil for a sender", 2, None)
    changed("text for bytes", 2, "a" * 20)
    changed("bytes for text", 1, CHAIN_ID.encode())
    changed("a sender of 21 bytes", 2, bytes(21))
    changed("an empty name", 1, "")
    changed("a name of 65 letters", 1, "a" * 65)
    changed("a name with a capital", 1, "Eub-dev")
    changed("a name that ends its line", 1, "eub-dev\n")
    changed("a name beyond ASCII", 1, "eub-dév")
    changed("a price above 10**9", 4, 10**9 + 1)
    changed("an amount of 0", 7, [1, BOB, 0])
    changed("an amount above 10**17", 7, [1, BOB, 10**17 + 1])
    changed("an unknown type", 7, [0, BOB, 1])
    changed("a payload with a field too many", 7, [1, BOB, 1, 1])
    changed("a payload with a field too few", 7, [1, BOB])
    changed("257 outputs", 7, [2, [[BOB, 1]] * 257])
    changed("no output", 7, [2, []])
    found.append(("a body with a field too few", "schema", msgpack.packb([body[:-1], auth])))
    found.append(("a body with a field too many", "schema", msgpack.packb([[*body, 0], auth])))
    found.append(("an unknown auth", "schema", msgpack.packb([body, [3, *auth[1:]]])))
    found.append(("a signature of 63 bytes", "schema", msgpack.packb([body, [0, auth[1], auth[2][:-1]]])))
    found.append(("a key of 33 bytes", "schema", msgpack.packb([body, [0, auth[1] + b"\x02", auth[2]]])))
    return [{"words": words, "fault": fault, "bytes": data.hex()} for words, fault, data in found]


def refused_envelopes() -> list[dict[str, Any]]:
    """Well encoded, refused before any state is asked: by which error."""
    one, two_of_three = signed_by_one(3, Transfer(BOB, 1)), signed_by_several(KEYS[:3], 2, (0, 2))
    auth = two_of_three.auth
    assert isinstance(auth, MultisigAuth)
    assert isinstance(one.auth, KeyAuth)
    evidence = Body(1, CHAIN_ID, bytes(20), 0, 0, 0, 0, evidence_samples()[0])
    swapped = (auth.keys[1], auth.keys[0], auth.keys[2])
    cases: list[tuple[str, int, Transaction[Any]]] = [
        ("another version", 1007, replace(one, body=replace(one.body, version=2))),
        ("another network", 1003, replace(one, body=replace(one.body, chain_id="eub-dev"))),
        ("another's key", 1005, replace(one, auth=KeyAuth(KEYS[1].public, one.auth.signature))),
        ("a signature of another body", 1004, replace(one, body=replace(one.body, nonce=1))),
        ("keys out of order", 1006, replace(two_of_three, auth=replace(auth, keys=swapped))),
        ("a key twice", 1006, replace(two_of_three, auth=replace(auth, keys=(auth.keys[0],) * 3))),
        ("a bit above the keys", 1006, replace(two_of_three, auth=replace(auth, bitmap=b"\x09"))),
        ("a byte too many in the bitmap", 1006,
         replace(two_of_three, auth=replace(auth, bitmap=b"\x05\x00"))),
        ("three bits for two", 1006, replace(two_of_three, auth=replace(auth, bitmap=b"\x07"))),
        ("one signature for two", 1006,
         replace(two_of_three, auth=replace(auth, signatures=auth.signatures[:1]))),
        ("more asked for than there are keys", 1006, replace(two_of_three, auth=replace(auth, threshold=4))),
        ("another threshold", 1005,
         replace(two_of_three, auth=replace(
             auth, threshold=1, bitmap=b"\x01", signatures=auth.signatures[:1]))),
        ("signatures in another order", 1004,
         replace(two_of_three, auth=replace(auth, signatures=auth.signatures[::-1]))),
        ("a transfer that proves itself", 1017,
         Transaction(replace(one.body, sender=bytes(20)), EvidenceAuth())),
        ("evidence that somebody signed", 1017,
         Transaction(replace(evidence, sender=ALICE), one.auth)),
        ("evidence with a nonce", 1017, Transaction(replace(evidence, nonce=1), EvidenceAuth())),
    ]  # fmt: skip
    return [{"words": words, "code": code, "bytes": encode(sent).hex()} for words, code, sent in cases]


def refused_addresses() -> list[dict[str, Any]]:
    """Texts that are no address of the main network, and the error that says so."""
    good = format_address(ALICE, "eub")
    wrong = good[:-1] + ("q" if good[-1] != "q" else "p")
    cases = [
        ("upper case", good.upper(), 1102), ("one capital", good[:9] + good[9:].capitalize(), 1102),
        ("a wrong letter", wrong, 1102), ("a letter missing", good[:-1], 1102),
        ("no separator", good[4:], 1102),
        ("an address of the test network", format_address(ALICE, "teub"), 1103),
        ("a prefix of nobody", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", 1102),
        ("nothing", "", 1102), ("a space", good + " ", 1102),
    ]  # fmt: skip
    return [{"words": words, "text": text, "code": code} for words, text, code in cases]
