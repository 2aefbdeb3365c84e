"""Key files: what opens them, what is refused and in which words, and how they are written."""

from __future__ import annotations

import json
import os
import stat
import threading

import msgspec
import pytest

from consensus.types.errors import Fault
from eubchain.wallet import private_file
from eubchain.wallet.keystore import (
    KEY_FILE_DAMAGED,
    KEY_FILE_FOREIGN,
    PASSWORD_WRONG,
    WORK,
    WORK_FOR_TESTS,
    RawKey,
    parse_keystore,
    read_keystore,
    seal,
    unseal,
    write_keystore,
)
from eubchain.wallet.mnemonic import Words, account_path
from eubchain.wallet.private_file import (
    FILE_NOT_WRITTEN,
    KEY_FILE_EXISTS,
    KEY_FILE_EXPOSED,
    KEY_FILE_MISSING,
    write_private,
)

WORDS = Words(b"\x7f" * 32)
KEY = RawKey(bytes(31) + b"\x03")


@pytest.fixture
def file(tmp_path):
    """A written key file with the words of this module and the password 'open'."""
    path = tmp_path / "wallet" / "main.json"
    write_keystore(path, seal(WORDS, "open", description="main", work=WORK_FOR_TESTS))
    return path


def reason_of(action, *arguments):
    with pytest.raises(Fault) as caught:
        action(*arguments)
    return caught.value.reason


def parsed_or_reason(data, file):
    try:
        return parse_keystore(data, file)
    except Fault as fault:
        return fault.reason


@pytest.mark.parametrize("secret", [WORDS, Words(b"\x01" * 16, "chinese_simplified"), KEY])
def test_what_is_sealed_opens_with_its_password_only(secret):
    keyfile = seal(secret, "pässword", work=WORK_FOR_TESTS)
    assert unseal(keyfile, "pa\u0308ssword", "f") == secret
    assert reason_of(unseal, keyfile, "password", "f") is PASSWORD_WRONG


def test_the_file_has_the_layout_of_eip_2335_and_names_the_curve(file):
    content = json.loads(file.read_text())
    assert set(content) >= {"crypto", "description", "pubkey", "path", "uuid", "version"}
    assert set(content["crypto"]) == {"kdf", "checksum", "cipher"}
    assert content["version"] == 4
    assert content["curve"] == "secp256k1-bip340"
    assert content["kind"] == "words"
    assert content["path"] == account_path()
    assert content["pubkey"] == WORDS.key_at(account_path()).public.hex()
    assert content["crypto"]["kdf"]["params"]["n"] == WORK_FOR_TESTS


def test_a_raw_key_says_that_it_is_one():
    keyfile = seal(KEY, "open", work=WORK_FOR_TESTS)
    assert (keyfile.kind, keyfile.path, keyfile.language) == ("key", "", "")


def test_the_work_is_the_customary_one_unless_a_test_lowers_it():
    assert WORK == 2**18
    assert seal(KEY, "open").crypto.kdf.params.n == WORK


def test_equal_secrets_and_passwords_give_different_files():
    first, second = (seal(KEY, "open", work=WORK_FOR_TESTS) for _ in range(2))
    assert first.crypto.cipher.message != second.crypto.cipher.message
    assert first.uuid != second.uuid


def test_the_secret_does_not_stand_in_the_file(file):
    assert WORDS.entropy.hex() not in file.read_text()


def test_every_flipped_bit_is_called_damage_and_never_a_wrong_password(file):
    """Each byte of the file is changed: none leads to another key or blames the person's password."""
    data = file.read_bytes()
    keyfile = read_keystore(file)
    for position in range(len(data)):
        mutated = bytearray(data)
        mutated[position] ^= 0x01
        outcome = parsed_or_reason(bytes(mutated), file)
        # Equal where the byte is white space.
        assert outcome in (KEY_FILE_DAMAGED, KEY_FILE_FOREIGN, keyfile), position


@pytest.mark.parametrize("keep", [0, 1, 100, 500])
def test_a_truncated_file_is_damaged(file, keep):
    assert reason_of(parse_keystore, file.read_bytes()[:keep], file) is KEY_FILE_DAMAGED


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"curve": "ed25519"}, "a key of the curve ed25519"),
        ({"curve": None}, "a key of an unnamed curve"),
        ({"version": 3}, "version 3 of the layout"),
        ({"crypto": None}, "no encrypted key"),
        ({"crypto": "Web3"}, "JSON of another kind"),
    ],
)
def test_another_programs_file_is_named_as_such(file, change, what):
    content = {**json.loads(file.read_text()), **change}
    content = {key: value for key, value in content.items() if value is not None}
    with pytest.raises(Fault) as caught:
        parse_keystore(json.dumps(content).encode(), file)
    assert caught.value.reason is KEY_FILE_FOREIGN
    assert caught.value.facts["what"] == what


def test_a_file_that_asks_for_a_machine_full_of_memory_is_refused_before_scrypt(file):
    content = json.loads(file.read_text())
    content["crypto"]["kdf"]["params"]["n"] = 2**40
    assert reason_of(parse_keystore, json.dumps(content).encode(), file) is KEY_FILE_DAMAGED


def test_a_public_key_that_does_not_belong_to_the_secret_is_damage():
    """Whoever can write the file cannot make the wallet show one address and sign for another."""
    ours = seal(KEY, "open", work=WORK_FOR_TESTS)
    theirs = seal(RawKey(bytes(31) + b"\x05"), "open", work=WORK_FOR_TESTS)
    swapped = msgspec.structs.replace(ours, pubkey=theirs.pubkey)
    assert reason_of(unseal, swapped, "open", "f") is KEY_FILE_DAMAGED


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(Fault) as caught:
        read_keystore(tmp_path / "none.json")
    assert caught.value.reason is KEY_FILE_MISSING
    assert str(tmp_path / "none.json") in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_reach_is_refused_with_the_chmod_line(file, mode):
    file.chmod(mode)
    with pytest.raises(Fault) as caught:
        read_keystore(file)
    assert caught.value.reason is KEY_FILE_EXPOSED
    hint = caught.value.reason.hint.format(**caught.value.facts)
    assert hint == f"Close it with: chmod 600 {file}"
    file.chmod(0o600)
    assert read_keystore(file).description == "main"


def test_the_file_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_private(tmp_path / "deep" / "key.json", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "key.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_a_key_is_never_overwritten_unless_asked(file):
    before = file.read_bytes()
    assert reason_of(write_private, file, b"other") is KEY_FILE_EXISTS
    assert file.read_bytes() == before
    write_private(file, b"other", replace=True)
    assert file.read_bytes() == b"other"


def test_of_many_writers_of_one_name_exactly_one_wins(tmp_path):
    outcomes = []

    def write(content: bytes) -> None:
        try:
            write_private(tmp_path / "key.json", content)
            outcomes.append(content)
        except Fault as fault:
            outcomes.append(fault.reason)

    writers = [threading.Thread(target=write, args=(bytes([i]) * 9,)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    won = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
    assert [(tmp_path / "key.json").read_bytes()] == won
    assert outcomes.count(KEY_FILE_EXISTS) == 7


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_no_litter(file, monkeypatch, step):
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.os, step, fail)
    with pytest.raises(Fault) as caught:
        write_private(file, b"new", replace=True)
    assert caught.value.reason is FILE_NOT_WRITTEN
    assert "no space left" in str(caught.value)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_content_and_folder_are_synced_before_the_call_returns(tmp_path, monkeypatch):
    """The order that survives a power cut: content, then name, then folder."""
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            private_file.os, name, lambda *a, _name=name, _real=real: (steps.append(_name), _real(*a))[1]
        )
    write_private(tmp_path / "key.json", b"x", replace=True)
    assert steps == ["fsync", "replace", "fsync"]
