"""Properties of the wallet: words, key files and the outbox, against models of a few lines."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consensus.types.errors import Fault
from eubchain.wallet.keystore import (
    KEY_FILE_DAMAGED,
    KEY_FILE_FOREIGN,
    PASSWORD_WRONG,
    WORK_FOR_TESTS,
    RawKey,
    parse_keystore,
    seal,
    unseal,
)
from eubchain.wallet.mnemonic import LANGUAGES, WORDS_DO_NOT_MATCH, Words, read_words, word_list
from eubchain.wallet.outbox import Entry, Outbox, Signed, Standing, find_repeat, signed_entry

entropies = st.sampled_from([16, 20, 24, 28, 32]).flatmap(
    lambda size: st.binary(min_size=size, max_size=size)
)
languages = st.sampled_from(LANGUAGES)
passwords = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(entropies, languages)
@settings(max_examples=60)
def test_any_entropy_is_a_sentence_that_reads_back_in_its_language(entropy, language):
    words = Words(entropy, language)
    assert read_words(words.sentence(), language) == words
    assert read_words(unicodedata.normalize("NFKD", words.sentence())).sentence() == words.sentence()


@given(entropies, st.data())
@settings(max_examples=60)
def test_a_word_taken_for_another_of_the_list_is_never_read_as_the_same_sentence(entropy, data):
    words = Words(entropy).sentence().split()
    at = data.draw(st.integers(0, len(words) - 1))
    other = data.draw(st.sampled_from(word_list("english").wordlist).filter(lambda word: word != words[at]))
    changed = [*words[:at], other, *words[at + 1 :]]
    try:
        changed_entropy = read_words(" ".join(changed), "english").entropy
    except Fault as fault:
        changed_entropy, refusal = None, fault.reason
    # Some changes pass the checksum, which is 4 to 8 bits long.
    assert refusal is WORDS_DO_NOT_MATCH if changed_entropy is None else changed_entropy != entropy


@given(passwords, passwords)
@settings(max_examples=60)
def test_a_key_file_opens_with_its_password_in_any_unicode_form_and_with_no_other(password, other):
    key = RawKey(b"\x07" * 32)
    keyfile = seal(key, password, work=WORK_FOR_TESTS)
    assert unseal(keyfile, unicodedata.normalize("NFC", password), "f") == key
    if _typed(other) != _typed(password):
        with pytest.raises(Fault) as caught:
            unseal(keyfile, other, "f")
        assert caught.value.reason is PASSWORD_WRONG


def _typed(password: str) -> str:
    normal = unicodedata.normalize("NFKD", password)
    return "".join(c for c in normal if unicodedata.category(c) != "Cc")


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_as_a_key_file_are_refused_with_a_reason(data):
    with pytest.raises(Fault) as caught:
        parse_keystore(data, "f")
    assert caught.value.reason in (KEY_FILE_DAMAGED, KEY_FILE_FOREIGN)


class Payments(RuleBasedStateMachine):
    """Whatever is recorded, settled or torn by a crash, no unsettled payment is ever forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "outbox.jsonl"
        self.recorded: list[Signed] = []
        self.outcomes: dict[str, str] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(intent=st.integers(0, 2), valid_until=st.integers(0, 20))
    def sign(self, intent: int, valid_until: int) -> None:
        number = len(self.recorded) + 1
        signed = signed_entry(
            txid=number.to_bytes(32, "big"),
            sender=bytes(20),
            nonce=number,
            recipient=bytes(20),
            amount=1,
            valid_until=valid_until,
            intent=bytes([intent]),
            raw=b"raw",
        )
        outbox = Outbox(self.file)
        with outbox.held():
            outbox.record(signed)
        self.recorded.append(signed)

    @rule(which=st.integers(0, 30), outcome=st.sampled_from(["included", "failed", "expired", "dropped"]))
    def settle(self, which: int, outcome: str) -> None:
        if self.recorded:
            signed = self.recorded[which % len(self.recorded)]
            Outbox(self.file).settle(bytes.fromhex(signed.txid), outcome)
            self.outcomes[signed.txid] = outcome

    @rule(torn=st.binary(min_size=1, max_size=40))
    def crash_while_writing(self, torn: bytes) -> None:
        if self.recorded:
            with self.file.open("ab") as file:
                file.write(b'{"line":"signed","' + torn.replace(b"\n", b" "))

    @invariant()
    def the_outbox_tells_what_happened(self) -> None:
        entries = Outbox(self.file).entries()
        assert entries == [Entry(signed, self.outcomes.get(signed.txid)) for signed in self.recorded]

    @invariant()
    def an_unsettled_payment_is_always_a_repeat(self) -> None:
        entries = Outbox(self.file).entries()
        for intent in range(3):
            unsettled = [
                signed
                for signed in self.recorded
                if signed.intent == bytes([intent]).hex() and signed.txid not in self.outcomes
            ]
            repeat = find_repeat(entries, bytes([intent]), 10)
            if unsettled:
                assert repeat is not None
                assert repeat.signed == unsettled[-1]
                expected = Standing.PENDING if unsettled[-1].valid_until >= 10 else Standing.UNKNOWN
                assert repeat.standing is expected
            elif repeat is not None:
                assert repeat.standing is Standing.RECENT


TestPayments = Payments.TestCase
TestPayments.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
