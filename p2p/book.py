"""The address book: where peers were seen, from the configuration and from other peers, kept on disk.

Here: signed records and configured addresses, bounded, with what dialling them led to.
Not here: asking peers for more (discovery.py), standing (peers.py).
Keeps: a newer record replaces an older one; configured addresses never leave; of the rest those that
failed longest go first, then the latest that nobody has reached. The file is replaced whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import structlog

from consensus.types.codec import encode
from consensus.types.errors import Fault, Rejected
from p2p.identity import PeerAddress, is_signed, parse_address
from p2p.messages import ADDRESS_RECORDS, RECORDS_MAX, AddressRecord, AddressRecords

log = structlog.get_logger("p2p")

BOOK_MAX = 1000
"""Records kept."""
UNTRIED = 1
"""An address that nobody has dialled yet is worse than one that worked, better than one that failed."""
FUTURE_S_MAX = 600
"""A record from further in the future is not believed."""
AGE_S_MAX = 30 * 86_400


class AddressBook:
    """Known addresses, by peer."""

    def __init__(self, file: Path | None, genesis: bytes, configured: Sequence[PeerAddress]) -> None:
        self._file = file
        self._genesis = genesis
        self._configured = {address.peer: address for address in configured}
        self._records: dict[str, AddressRecord] = {}
        self._failures: dict[str, int] = {}
        """Of dialling, 0 for a peer that was reached."""
        self._addresses: dict[str, tuple[AddressRecord, list[PeerAddress]]] = {}
        """What was read of records, which is dear."""
        self._places: dict[str, list[PeerAddress]] | None = None
        if file is not None:
            self._load(file)

    def _load(self, file: Path) -> None:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return
        offset = 0
        while offset + 4 <= len(data):
            end = offset + 4 + int.from_bytes(data[offset : offset + 4], "big")
            try:
                records = ADDRESS_RECORDS.decode(data[offset + 4 : end]).records
            except Rejected:
                return  # a damaged book is filled again by peers
            for record in records:
                is_fit = bool(record.addresses) and _readable(record) and is_signed(record, self._genesis)
                if len(self._records) < BOOK_MAX and is_fit:
                    self._records[record.peer] = record
            offset = end

    def save(self) -> None:
        """Write the file; what is lost in a crash comes back from peers."""
        if self._file is None:
            return
        records = list(self._records.values())
        pages = [records[i : i + RECORDS_MAX] for i in range(0, len(records), RECORDS_MAX)]
        bodies = [encode(AddressRecords(tuple(page))) for page in pages]
        temporary = self._file.with_suffix(".new")
        try:
            temporary.write_bytes(b"".join(len(b).to_bytes(4, "big") + b for b in bodies))
            os.replace(temporary, self._file)
        except OSError as error:
            # A full disk must not end the network part: the node goes on following.
            log.warning("addresses cannot be kept", file=str(self._file), why=error.strerror or str(error))

    def __len__(self) -> int:
        return len(self._configured.keys() | self._records.keys())

    def add(self, records: Iterable[AddressRecord], now_s: int) -> int:
        """Take records of others; returns how many were false, which the giver answers for."""
        false = 0
        for record in records:
            known = self._records.get(record.peer)
            if known is not None and known.issued_s >= record.issued_s:
                continue
            if record.issued_s > now_s + FUTURE_S_MAX or record.issued_s + AGE_S_MAX < now_s:
                continue
            if not record.addresses:
                continue  # a node that cannot be dialled says so in this way
            if not is_signed(record, self._genesis) or not _readable(record):
                false += 1
                continue
            self._records[record.peer] = record
            self._places = None
            if self._doubt(record.peer) > UNTRIED:
                del self._failures[record.peer]  # it has moved, perhaps: a new chance
            if len(self._records) > BOOK_MAX:
                # Of equals the newest goes: whoever invents nodes by the thousand displaces nobody.
                worst = max(reversed(self._records), key=self._doubt)
                del self._records[worst]
                self._failures.pop(worst, None)
                self._addresses.pop(worst, None)
        return false

    def is_configured(self, peer: str) -> bool:
        """Whether the configuration names this peer."""
        return peer in self._configured

    def places(self) -> Mapping[str, Sequence[PeerAddress]]:
        """Every known peer with its addresses; the configured one first.

        Put together once per change: reading a thousand records takes half a second, and whoever dials asks
        ten times a second.
        """
        if self._places is None:
            found = {peer: [address] for peer, address in self._configured.items()}
            for peer, record in self._records.items():
                places = found.setdefault(peer, [])
                places += [a for a in self._read(record) if a not in places]
            self._places = found
        return self._places

    def _read(self, record: AddressRecord) -> Sequence[PeerAddress]:
        known = self._addresses.get(record.peer)
        if known is None or known[0] is not record:
            known = self._addresses[record.peer] = (
                record,
                [parse_address(text) for text in record.addresses],
            )
        return known[1]

    def _doubt(self, peer: str) -> int:
        return self._failures.get(peer, UNTRIED)

    def failed(self, peer: str) -> None:
        """Remember that dialling led nowhere."""
        self._failures[peer] = self._doubt(peer) + 1

    def reached(self, peer: str) -> None:
        """Remember that dialling worked."""
        self._failures[peer] = 0

    def some(self, count: int, but_not: str) -> list[AddressRecord]:
        """Records to tell another node, the most reliable first."""
        others = [record for record in self._records.values() if record.peer != but_not]
        return sorted(others, key=lambda record: self._doubt(record.peer))[:count]


def _readable(record: AddressRecord) -> bool:
    try:
        return all(parse_address(text).peer == record.peer for text in record.addresses)
    except Fault:
        return False
