"""Repeating a payment: what the outbox remembers across crashes, and what it says about an intent."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from consensus.types.errors import Fault
from eubchain.wallet import outbox as module
from eubchain.wallet.outbox import (
    OUTBOX_BUSY,
    OUTBOX_DAMAGED,
    OUTBOX_NOT_READ,
    OUTBOX_NOT_WRITTEN,
    Entry,
    Outbox,
    Standing,
    find_repeat,
    intent_digest,
    signed_entry,
)

GENESIS, SENDER, OTHER = b"\x01" * 32, b"\x02" * 20, b"\x03" * 20
INTENT = intent_digest(GENESIS, SENDER, b"pay 1.5 to 3")


def payment(number: int = 1, valid_until: int = 100, intent: bytes = INTENT):
    """A transaction that pays 1.5 EUBC; `number` tells its nonce and txid."""
    return signed_entry(
        txid=bytes([number]) * 32,
        sender=SENDER,
        nonce=number,
        recipient=OTHER,
        amount=150_000_000,
        valid_until=valid_until,
        intent=intent,
        raw=b"transaction " + bytes([number]),
    )


@pytest.fixture
def outbox(tmp_path):
    """An outbox without a file."""
    return Outbox(tmp_path / "wallet" / "outbox.jsonl")


def record(outbox: Outbox, *payments) -> None:
    with outbox.held():
        for signed in payments:
            outbox.record(signed)


# ---- the pure question


def test_nothing_signed_is_no_repeat():
    assert find_repeat([], INTENT, 50) is None


def test_another_intent_is_no_repeat():
    assert find_repeat([Entry(payment(intent=b"\x09" * 32), None)], INTENT, 50) is None


@pytest.mark.parametrize(
    ("outcome", "height", "standing"),
    [
        (None, 100, Standing.PENDING),
        (None, 101, Standing.UNKNOWN),
        (None, 10**9, Standing.UNKNOWN),
        ("included", 100, Standing.RECENT),
        ("included", 101, None),
        ("failed", 50, None),
        ("expired", 101, None),
        ("dropped", 50, None),
    ],
)
def test_an_earlier_payment_stands_as_its_outcome_and_term_say(outcome, height, standing):
    repeat = find_repeat([Entry(payment(valid_until=100), outcome)], INTENT, height)
    assert (repeat.standing if repeat else None) is standing


def test_an_unsettled_payment_counts_before_a_settled_one_and_the_latest_before_older_ones():
    entries = [Entry(payment(1), None), Entry(payment(2), None), Entry(payment(3), "included")]
    repeat = find_repeat(entries, INTENT, 50)
    assert repeat is not None
    assert (repeat.signed.nonce, repeat.standing) == (2, Standing.PENDING)
    both = [Entry(payment(1), "included"), Entry(payment(2), "included")]
    latest = find_repeat(both, INTENT, 50)
    assert latest is not None
    assert latest.signed.nonce == 2


def test_an_intent_is_network_sender_and_payload_and_their_boundaries():
    others = [
        intent_digest(b"\x09" * 32, SENDER, b"pay 1.5 to 3"),
        intent_digest(GENESIS, OTHER, b"pay 1.5 to 3"),
        intent_digest(GENESIS, SENDER, b"pay 1.6 to 3"),
        intent_digest(GENESIS, SENDER + b"p", b"ay 1.5 to 3"),
    ]
    assert intent_digest(GENESIS, SENDER, b"pay 1.5 to 3") == INTENT
    assert INTENT not in others


# ---- the file


def test_what_is_recorded_is_read_back_by_another_process_of_the_same_home(outbox):
    record(outbox, payment(1), payment(2))
    outbox.settle(bytes([1]) * 32, "included")
    assert Outbox(outbox.file).entries() == [Entry(payment(1), "included"), Entry(payment(2), None)]
    assert bytes.fromhex(outbox.entries()[1].signed.raw) == b"transaction \x02"


def test_an_outbox_without_a_file_is_empty(outbox):
    assert outbox.entries() == []


def test_the_file_is_private(outbox):
    record(outbox, payment())
    assert {stat.S_IMODE(file.stat().st_mode) for file in outbox.file.parent.iterdir()} == {0o600}


def test_a_txid_can_be_searched_in_the_file(outbox):
    record(outbox, payment(7))
    assert "07" * 32 in outbox.file.read_text()


def test_every_torn_tail_is_dropped_and_the_next_line_stands_whole(outbox):
    """A crash at any byte of the second line: the first survives, and a third can be appended."""
    record(outbox, payment(1))
    first = outbox.file.read_bytes()
    record(outbox, payment(2))
    both = outbox.file.read_bytes()
    for cut in range(len(first), len(both)):
        outbox.file.write_bytes(both[:cut])
        assert [entry.signed.nonce for entry in outbox.entries()] == [1]
        record(outbox, payment(3))
        assert [entry.signed.nonce for entry in outbox.entries()] == [1, 3]


def test_a_last_line_of_zeros_is_a_torn_tail(outbox):
    """Some file systems grow the file before they fill it."""
    record(outbox, payment(1))
    with outbox.file.open("ab") as file:
        file.write(bytes(100) + b"\n")
    record(outbox, payment(2))
    assert [entry.signed.nonce for entry in outbox.entries()] == [1, 2]


@pytest.mark.parametrize("tail", [b"", b"torn"])
def test_damage_before_the_last_line_stops_payments(outbox, tail):
    record(outbox, payment(1), payment(2), payment(3))
    lines = outbox.file.read_bytes().splitlines(keepends=True)
    outbox.file.write_bytes(lines[0] + b"{}\n" + lines[2] + tail)
    with pytest.raises(Fault) as caught:
        outbox.entries()
    assert caught.value.reason is OUTBOX_DAMAGED
    assert caught.value.facts["line"] == 2
    with pytest.raises(Fault) as caught, outbox.held():
        outbox.record(payment(4))
    assert caught.value.reason is OUTBOX_DAMAGED


def test_a_transaction_is_on_disk_before_record_returns(outbox, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(module.os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))[1])
    record(outbox, payment(1))
    assert synced[-1] == outbox.file.stat().st_size > 0


def test_a_disk_that_refuses_is_a_fault_and_leaves_no_half_line(outbox, monkeypatch):
    record(outbox, payment(1))
    before = outbox.file.read_bytes()
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda fd, data: real(fd, data[:10]))
    with pytest.raises(Fault) as caught:
        record(outbox, payment(2))
    assert caught.value.reason is OUTBOX_NOT_WRITTEN
    assert outbox.file.read_bytes() == before


def test_a_file_that_cannot_be_read_is_a_fault(outbox):
    outbox.file.mkdir(parents=True)
    with pytest.raises(Fault) as caught:
        outbox.entries()
    assert caught.value.reason is OUTBOX_NOT_READ


def test_recording_without_holding_is_our_own_mistake(outbox):
    with pytest.raises(AssertionError):
        outbox.record(payment())


def test_only_one_command_holds_the_outbox_but_another_can_settle(outbox):
    record(outbox, payment(1))
    other = Outbox(outbox.file)
    with outbox.held():
        with pytest.raises(Fault) as caught, other.held():
            pass
        assert caught.value.reason is OUTBOX_BUSY
        other.settle(bytes([1]) * 32, "included")
    with other.held():
        assert find_repeat(other.entries(), INTENT, 50) is not None


def test_an_error_of_the_caller_passes_through_and_frees_the_outbox(outbox):
    with pytest.raises(ConnectionError), outbox.held():
        raise ConnectionError("the node is gone")
    with outbox.held():
        outbox.record(payment())


CRASHING = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.unit.test_wallet_outbox import payment
from eubchain.wallet.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
with outbox.held():
    outbox.record(payment(1))
    os._exit(9)
"""


def test_a_command_that_dies_after_signing_is_found_by_the_next_one(outbox, pytestconfig):
    """The process ends without cleaning up: its line is there, its lock is not."""
    root = str(pytestconfig.rootpath)
    died = subprocess.run([sys.executable, "-c", CRASHING, str(outbox.file), root], check=False)
    assert died.returncode == 9
    with outbox.held():
        repeat = find_repeat(outbox.entries(), INTENT, 50)
    assert repeat is not None
    assert repeat.standing is Standing.PENDING
