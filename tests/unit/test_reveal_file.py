"""The reveal chain's file: read when it fits, made anew when it does not, never readable by others."""

from __future__ import annotations

import stat

from consensus.types.keys import SecretKey
from eubchain.node.reveal_file import load_reveal_chain
from eubchain.node.validator_key import ValidatorKey


def _key(secret: bytes = b"\x05" * 32, generation: int = 0) -> ValidatorKey:
    return ValidatorKey("deub1", SecretKey(b"\x01" * 32), secret, generation, 1_000)


def test_a_stored_chain_is_the_chain_and_is_private(tmp_path):
    path = tmp_path / "reveal_chain"
    made, read = load_reveal_chain(_key(), path), load_reveal_chain(_key(), path)
    assert made.commitment == read.commitment == _key().reveal_chain().commitment
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_another_key_or_a_damaged_one_is_replaced(tmp_path):
    path = tmp_path / "reveal_chain"
    load_reveal_chain(_key(), path)
    other = _key(b"\x06" * 32)
    assert load_reveal_chain(other, path).commitment == other.reveal_chain().commitment
    renewed = _key(generation=1)
    assert load_reveal_chain(renewed, path).commitment == renewed.reveal_chain().commitment
    data = bytearray(path.read_bytes())
    for position in (0, 100, len(data) - 1):
        path.write_bytes(bytes([*data[:position], data[position] ^ 1, *data[position + 1 :]]))
        assert load_reveal_chain(renewed, path).commitment == renewed.reveal_chain().commitment
