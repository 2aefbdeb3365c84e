"""The reveal chain's file: read when it fits, made anew when it does not, never readable by others."""

from __future__ import annotations

import stat

import pytest

from consensus.beacon import is_reveal_of
from consensus.types.errors import Fault
from consensus.types.keys import SecretKey
from eubchain.node.reveal_file import load_reveal_chain, load_reveals, renewed
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


def test_while_a_renewal_is_on_its_way_a_home_reveals_from_both_chains(tmp_path):
    """With one of the two it would let its turns pass, for two epochs or from then on, and be jailed."""
    path, old, new = tmp_path / "reveal_chain", _key(), _key(generation=1)
    held = load_reveals(new, path, old.reveal_chain().commitment)
    for key in (old, new):
        commitment = key.reveal_chain().commitment
        assert held.position(commitment) == 1_000
        assert is_reveal_of(held.reveal(commitment), commitment)
    with pytest.raises(Fault):
        held.reveal(bytes(32))
    assert held.length == 1_000


def test_a_home_holds_one_chain_when_the_network_knows_it_or_none(tmp_path):
    path, new = tmp_path / "reveal_chain", _key(generation=1)
    for commitment in (None, new.reveal_chain().commitment):
        assert load_reveals(new, path, commitment).position(new.reveal_chain().commitment) == 1_000
    assert not (tmp_path / "reveal_chain_before").exists()


def test_a_renewal_raises_the_generation_once():
    key, in_use = _key(), _key().reveal_chain()
    later = in_use.reveal(in_use.commitment)
    assert renewed(key, later).generation == 1
    assert renewed(_key(generation=1), later).generation == 1
