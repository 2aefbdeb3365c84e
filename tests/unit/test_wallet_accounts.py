"""The wallet folder: what it lists without a password, how it signs, what it refuses."""

from __future__ import annotations

import json
import stat

import pytest

from consensus.types.address import key_address, multisig_address
from consensus.types.errors import Fault
from consensus.types.keys import SecretKey, verify
from eubchain.wallet.accounts import (
    ACCOUNT_EXISTS,
    ACCOUNT_HAS_NO_WORDS,
    ACCOUNT_IS_MULTISIG,
    ACCOUNT_NAME_MALFORMED,
    ACCOUNT_UNKNOWN,
    MULTISIG_MALFORMED,
    NO_ACCOUNT_CHOSEN,
    RAW_KEY_MALFORMED,
    KeyAccount,
    MultisigAccount,
    Wallet,
    read_raw_key,
)
from eubchain.wallet.keystore import KEY_FILE_DAMAGED, PASSWORD_WRONG, WORK_FOR_TESTS
from eubchain.wallet.mnemonic import WORD_UNKNOWN, account_path, validator_path

LEGAL = "legal winner thank year wave sausage worth useful legal winner thank yellow"
KEYS = [SecretKey(bytes([i]) * 32).public for i in (1, 2, 3)]
MESSAGE = bytes(range(32))


@pytest.fixture
def wallet(tmp_path):
    """An empty wallet whose folder does not exist yet."""
    return Wallet(tmp_path / "home" / "wallet")


def fault_of(action, *arguments, **options) -> Fault:
    with pytest.raises(Fault) as caught:
        action(*arguments, **options)
    return caught.value


def test_an_empty_wallet_lists_nothing_and_says_how_to_begin(wallet):
    assert wallet.accounts() == []
    fault = fault_of(wallet.account)
    assert fault.reason is NO_ACCOUNT_CHOSEN
    assert "the wallet is empty" in str(fault)


def test_a_new_account_signs_for_its_address(wallet):
    account, words = wallet.create("main", "open", work=WORK_FOR_TESTS)
    signer = wallet.signer("main", "open")
    assert signer.address == account.address == key_address(signer.public)
    assert verify(signer.public, MESSAGE, signer.sign(MESSAGE))
    assert words.key_at(account_path()).public == signer.public


def test_the_words_restore_the_account_in_another_wallet(wallet, tmp_path):
    account, words = wallet.create("main", "open", count=12, language="japanese", work=WORK_FOR_TESTS)
    other = Wallet(tmp_path / "other")
    restored = other.import_words("again", words.sentence(), "different", work=WORK_FOR_TESTS)
    assert restored.address == account.address
    assert other.export_words("again", "different") == words.sentence()


def test_another_path_of_the_same_words_is_another_account(wallet):
    first = wallet.import_words("first", LEGAL, "open", work=WORK_FOR_TESTS)
    second = wallet.import_words("second", LEGAL, "open", path=account_path(0, 1), work=WORK_FOR_TESTS)
    validator = wallet.import_words("validator", LEGAL, "open", path=validator_path(), work=WORK_FOR_TESTS)
    assert len({first.address, second.address, validator.address}) == 3
    assert wallet.signer("second", "open").address == second.address


def test_a_raw_key_imports_and_exports_but_has_no_words(wallet):
    account = wallet.import_key("raw", "0x" + "0" * 63 + "3", "open", work=WORK_FOR_TESTS)
    assert account.public.hex() == "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"
    assert wallet.export_key("raw", "open") == "0" * 63 + "3"
    assert fault_of(wallet.export_words, "raw", "open").reason is ACCOUNT_HAS_NO_WORDS


def test_words_need_the_right_password(wallet):
    wallet.import_words("main", LEGAL, "open", work=WORK_FOR_TESTS)
    assert wallet.export_words("main", "open") == LEGAL
    for action in (wallet.export_words, wallet.export_key, wallet.signer, wallet.open):
        assert fault_of(action, "main", "wrong").reason is PASSWORD_WRONG


def test_words_with_an_error_leave_no_file(wallet):
    assert fault_of(wallet.import_words, "main", LEGAL + "x", "open").reason is WORD_UNKNOWN
    assert wallet.names() == []


def test_listing_and_showing_need_no_password(wallet):
    wallet.import_words("b", LEGAL, "open", work=WORK_FOR_TESTS)
    wallet.import_key("a", "01" * 32, "open", work=WORK_FOR_TESTS)
    wallet.add_multisig("c", 2, KEYS)
    (wallet.folder / "outbox.jsonl").write_text("")
    assert [account.name for account in wallet.accounts()] == ["a", "b", "c"]
    a = wallet.account("a")
    assert isinstance(a, KeyAccount)
    assert a.public == KEYS[0]
    assert wallet.find(a.address) == a
    assert wallet.find(bytes(20)) is None


def test_the_only_account_is_the_default_and_of_several_the_chosen_one(wallet):
    wallet.import_key("one", "01" * 32, "open", work=WORK_FOR_TESTS)
    assert wallet.default() == "one"
    wallet.import_key("two", "02" * 32, "open", work=WORK_FOR_TESTS)
    assert fault_of(wallet.default).reason is NO_ACCOUNT_CHOSEN
    wallet.set_default("two")
    assert wallet.account().name == "two"
    wallet.set_default("one")
    assert Wallet(wallet.folder).default() == "one"


def test_a_default_that_was_removed_is_named(wallet):
    wallet.import_key("one", "01" * 32, "open", work=WORK_FOR_TESTS)
    wallet.set_default("one")
    (wallet.folder / "one.json").unlink()
    assert fault_of(wallet.account).facts["name"] == "one"


def test_an_unknown_name_gets_the_nearest_one(wallet):
    wallet.import_key("savings", "01" * 32, "open", work=WORK_FOR_TESTS)
    fault = fault_of(wallet.account, "saving")
    assert fault.reason is ACCOUNT_UNKNOWN
    assert "the nearest is 'savings'" in str(fault)
    assert fault_of(wallet.set_default, "saving").reason is ACCOUNT_UNKNOWN


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "../main", "-a", "a.json", "x" * 33, "eub1abc", "deub1x", "é", "a\n", "/etc"]
)
def test_a_name_that_is_no_plain_word_or_looks_like_an_address_is_refused(wallet, name):
    fault = fault_of(wallet.import_key, name, "01" * 32, "open")
    assert fault.reason is ACCOUNT_NAME_MALFORMED
    assert not wallet.folder.exists()


@pytest.mark.parametrize("name", ["../main", "a/../main", "", "/main"])
def test_no_name_reaches_a_file_outside_the_folder(wallet, name):
    wallet.import_key("main", "01" * 32, "open", work=WORK_FOR_TESTS)
    assert fault_of(wallet.account, name).reason is ACCOUNT_UNKNOWN


def test_a_taken_name_is_refused_and_the_account_untouched(wallet):
    wallet.import_key("main", "01" * 32, "open", work=WORK_FOR_TESTS)
    assert fault_of(wallet.import_key, "main", "02" * 32, "open").reason is ACCOUNT_EXISTS
    assert fault_of(wallet.add_multisig, "main", 1, KEYS).reason is ACCOUNT_EXISTS
    assert wallet.export_key("main", "open") == "01" * 32


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has 0 digits instead of 64"),
        ("ab", "it has 2 digits instead of 64"),
        ("0" * 64, "zero or not below the order"),
        ("f" * 64, "zero or not below the order"),
        ("g" * 64, "no hexadecimal digit"),
    ],
)
def test_a_malformed_raw_key_is_refused_without_quoting_it(text, why):
    fault = fault_of(read_raw_key, text)
    assert fault.reason is RAW_KEY_MALFORMED
    assert why in str(fault)
    assert len(text) < 64 or text not in str(fault)


def test_a_signer_shows_no_secret(wallet):
    wallet.import_key("main", "01" * 32, "open", work=WORK_FOR_TESTS)
    assert "01" * 32 not in repr(wallet.signer("main", "open"))
    assert "01" * 32 not in repr(wallet.open("main", "open"))


def test_every_file_of_the_wallet_is_private(wallet):
    wallet.import_key("main", "01" * 32, "open", work=WORK_FOR_TESTS)
    wallet.add_multisig("shared", 2, KEYS)
    wallet.set_default("main")
    assert {stat.S_IMODE(file.stat().st_mode) for file in wallet.folder.iterdir()} == {0o600}


def test_a_multisig_orders_its_keys_and_cannot_sign_alone(wallet):
    wallet.add_multisig("shared", 2, list(reversed(KEYS)))
    account = wallet.account("shared")
    assert isinstance(account, MultisigAccount)
    assert account.keys == tuple(sorted(KEYS))
    assert account.address == multisig_address(2, sorted(KEYS))
    fault = fault_of(wallet.signer, "shared", "open")
    assert fault.reason is ACCOUNT_IS_MULTISIG
    assert "2 of 3" in str(fault)


def test_the_holders_of_a_multisigs_keys_are_found_in_the_order_of_the_keys(wallet):
    wallet.import_key("third", "03" * 32, "open", work=WORK_FOR_TESTS)
    wallet.import_key("first", "01" * 32, "open", work=WORK_FOR_TESTS)
    wallet.import_key("stranger", "09" * 32, "open", work=WORK_FOR_TESTS)
    shared = wallet.add_multisig("shared", 2, KEYS)
    expected = sorted([(KEYS[0], "first"), (KEYS[2], "third")])
    assert [(account.public, account.name) for account in wallet.holders(shared)] == expected


@pytest.mark.parametrize(
    ("threshold", "keys"),
    [
        (0, KEYS),
        (4, KEYS),
        (1, []),
        (1, [KEYS[0], KEYS[0]]),
        (1, [bytes(32)]),
        (1, [b"\xff" * 32]),
        (1, [KEYS[0][:31]]),
        (1, [SecretKey(bytes([i + 1]) * 32).public for i in range(17)]),
    ],
)
def test_a_multisig_that_could_never_pay_is_refused(wallet, threshold, keys):
    assert fault_of(wallet.add_multisig, "shared", threshold, keys).reason is MULTISIG_MALFORMED
    assert wallet.names() == []


@pytest.mark.parametrize("change", [{"threshold": 17}, {"keys": ["zz"]}, {"kind": "words"}, {"more": 1}])
def test_a_damaged_multisig_file_says_so(wallet, change):
    wallet.add_multisig("shared", 2, KEYS)
    file = wallet.folder / "shared.multisig.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert fault_of(wallet.account, "shared").reason is KEY_FILE_DAMAGED
