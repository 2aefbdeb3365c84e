"""The chain as a spark's agent sees it: a protocol, so that the agent never imports what implements it.

Here: the questions and their answers, what submitting raises.
Not here: RPC and signing (eubchain/client/spark_chain.py), a chain in memory (tests).
Keeps: one account submits one transaction at a time, so nonces never collide; `submit` returns only what
is final; events are hints, so `wait_for_change` may return early and often.
Errors: 3200 chain_away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from consensus.types.errors import Reason
from consensus.types.params import Params
from consensus.types.wording import Wording
from spark_node.job import Spec
from vm.spark import Hardware
from vm.task.payloads import Post
from vm.task.records import Stage

CHAIN_AWAY = Reason(
    3200,
    "chain_away",
    "why:text",
    "The chain cannot be reached: {why}.",
    "The agent goes on by itself when a node answers again; check the address it was started with.",
)


EVENT_BLOCKS_MAX = 1_000


class Refused(Exception):
    """The chain refused a transaction, in its own words; nothing but `fee` (grains) was spent."""

    def __init__(self, wording: Wording, fee: int = 0) -> None:
        super().__init__(wording)
        self.wording = wording
        self.fee = fee

    def __str__(self) -> str:
        return f"{self.wording.code} {self.wording.name}: {self.wording.sentence}"


class Head(NamedTuple):
    """The newest block."""

    height: int
    time_ms: int


class Account(NamedTuple):
    """What the agent's account holds; grains."""

    spendable: int
    bonded: int


class OwnSpark(NamedTuple):
    """The spark record of the agent's account."""

    is_active: bool
    recipient: str
    hardware: Hardware
    slots: int
    judging: bool
    running: int
    kappa: int
    """Parts per billion."""
    difficulty: int
    """D: tiles per share of its next proof."""
    registered_epoch: int
    banned_until: int
    """Epoch before which it proves nothing."""


class ProvingWindow(NamedTuple):
    """The last window of proving; heights."""

    window: int
    """Its name: the height that opened it."""
    epoch: int
    """In which it was announced."""
    search_until: int
    last_proof: int
    seed: bytes | None
    """None until it is known."""
    has_proved: bool


class OwnEvent(NamedTuple):
    """Something that a block did by itself to the account: a draw, a payment, a forfeit."""

    height: int
    number: int
    """Among the account's events of the block, so that one is entered once."""
    name: str
    facts: dict[str, int | str]


class Ended(NamedTuple):
    """How a seat ended and where the money went; grains."""

    ending: str
    blame: str
    height: int
    paid: int
    gas_returned: int
    gas_burned: int
    gas_held: int


class SeatView(NamedTuple):
    """One seat as the chain holds it."""

    number: int
    spark: bytes
    stage: Stage
    price: int
    promise: int
    gas: int
    deadline: int
    """The last height for what the stage waits for, a cancellation under way included."""
    started: int
    grant: bytes | None
    """wtxid of the newest grant that holds an envelope for it."""
    ended: Ended | None


class TaskView(NamedTuple):
    """One task as the chain holds it."""

    task: bytes
    requester: bytes
    post: Post
    spec: Spec | None
    """None when the post holds no spec that can be read."""
    is_open: bool
    """Whether it takes offers."""
    offers: int
    offers_end: int
    """The last height for offers, in whose block the draw is held."""
    seats: tuple[SeatView, ...]


class Granted(NamedTuple):
    """A grant, as far as one seat is concerned."""

    job: bytes
    """Digest of the job."""
    envelope: bytes
    """Empty when the grant holds none for the seat."""


class Receipt(NamedTuple):
    """A transaction that is final and did what it says."""

    txid: bytes
    height: int
    fee: int
    """Grains."""


class Chain(Protocol):
    """Everything that the agent asks. Every method may raise `Fault(CHAIN_AWAY)`."""

    @property
    def genesis(self) -> bytes:
        """The network's genesis hash."""
        ...

    @property
    def address(self) -> bytes:
        """The agent's account, 20 bytes."""
        ...

    @property
    def prefix(self) -> str:
        """Of addresses."""
        ...

    @property
    def params(self) -> Params:
        """Of the network."""
        ...

    async def head(self) -> Head:
        """The newest block."""
        ...

    async def account(self) -> Account:
        """What the account holds."""
        ...

    async def spark(self) -> OwnSpark | None:
        """The account's spark, None when it never registered one."""
        ...

    async def window(self) -> ProvingWindow | None:
        """The window of proving that takes proofs in the next block, if one does."""
        ...

    async def open_tasks(self) -> Sequence[TaskView]:
        """Tasks that take offers."""
        ...

    async def own_tasks(self) -> Sequence[TaskView]:
        """Tasks with a seat of the account, as long as the chain remembers them."""
        ...

    async def task(self, task: bytes) -> TaskView | None:
        """One task, None when the chain has none (any more)."""
        ...

    async def events(self, first: int, last: int) -> Sequence[OwnEvent]:
        """What the blocks `first` to `last` (at most `EVENT_BLOCKS_MAX`) did to the account by themselves."""
        ...

    async def granted(self, grant: bytes, seat: int) -> Granted:
        """What the grant with this wtxid holds for a seat."""
        ...

    async def submit(self, payload: Any) -> Receipt:
        """Sign, send and wait until it is final; raises `Refused`."""
        ...

    async def wait_for_change(self, timeout_s: float) -> None:
        """Return when something may have happened, or after the time."""
        ...
