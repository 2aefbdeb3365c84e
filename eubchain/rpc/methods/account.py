"""`account_*`: balances, nonces, history."""

from __future__ import annotations

import base64
import binascii

import trio

from consensus.types.address import parse_address
from consensus.types.errors import Fault
from eubchain.rpc.backend import Backend
from eubchain.rpc.method import INVALID_PARAMETERS, AddressText, Decimal, View, method
from eubchain.rpc.views import TransactionView, transaction_view
from vm import funds, stake
from vm.registry import TRANSACTION

PAGE_MAX = 100


class AccountView(View):
    """What an account holds; grains as decimal strings."""

    address: str
    exists: bool
    nonce: int
    """Of its next transaction in a block."""
    pending_nonce: int
    """Of its next transaction after those that wait."""
    balance: Decimal
    spendable: Decimal
    locked: Decimal
    bonded: Decimal
    unbonding: list[dict[str, int | str]]


@method("account_get", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def get(backend: Backend, address: AddressText) -> AccountView:
    """Balance, nonce and bond of an account; one that never received anything is empty."""
    account = parse_address(address, backend.prefix)
    state = backend.view()
    found = state.get(funds.ACCOUNTS, account)
    held = found or funds.NEW_ACCOUNT
    bond = stake.stake(state, account)
    spendable = funds.spendable(state, account)
    return AccountView(
        address=address,
        exists=found is not None,
        nonce=held.nonce,
        pending_nonce=backend.mempool.pending_nonce(account, held.nonce),
        balance=str(held.balance),
        spendable=str(spendable),
        locked=str(held.balance - spendable),
        bonded=str(bond.bonded),
        unbonding=[
            {"amount": str(entry.amount), "mature_height": entry.mature_height} for entry in bond.unbonding
        ],
    )


class HistoryPage(View):
    """Transactions, newest first, and the cursor of the next page."""

    transactions: list[TransactionView]
    pending: list[TransactionView]
    """Those that wait, on the first page."""
    cursor: str | None


@method("account_history", example={"address": "deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z"})
async def history(
    backend: Backend, address: AddressText, cursor: str | None = None, limit: int = 20
) -> HistoryPage:
    """What touched an account, newest first; the node must keep its index (ledger.index)."""
    account = parse_address(address, backend.prefix)
    ledger = backend.ledger()
    page = ledger.history(account, decode_cursor("account_history", cursor), max(1, min(limit, PAGE_MAX)))
    found = []
    for place in page.places:
        await trio.lowlevel.checkpoint()  # each may be in a full block of its own
        block, receipts = ledger.block(place.height), ledger.receipts(place.height)
        if block is None or receipts is None or place.position >= len(block.transactions):
            continue
        raw = block.transactions[place.position]
        receipt = receipts[place.position]
        found.append(
            transaction_view(
                TRANSACTION.decode(raw), raw, backend.rules, place.height, place.position, receipt
            )
        )
    pending = []
    if cursor is None:
        for waiting in backend.mempool.of_sender(account):
            pending.append(transaction_view(waiting.transaction, waiting.raw, backend.rules, 0, 0, None))
    return HistoryPage(transactions=found, pending=pending, cursor=encode_cursor(page.cursor))


def decode_cursor(name: str, cursor: str | None) -> bytes | None:
    """A page's cursor from its text."""
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(cursor)
    except (binascii.Error, ValueError):
        raise Fault(INVALID_PARAMETERS, method=name, why="the cursor is not one of ours") from None


def encode_cursor(cursor: bytes | None) -> str | None:
    """A page's cursor as text."""
    return None if cursor is None else base64.urlsafe_b64encode(cursor).decode()
