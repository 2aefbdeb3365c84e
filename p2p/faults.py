"""What others do wrong on the network, as reasons; whoever does it loses standing or the connection.

Here: the reasons of frames, links and requests, and the penalties that go with them.
Not here: keeping scores (peers.py), frames (frames.py).
Errors: 2400–2420.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from consensus.types.errors import Fault, Reason

_PEER = "The peer is faulty or hostile: its connection is closed and its score lowered."

FRAME_TOO_LARGE = Reason(
    2400, "frame_too_large", "kind:count size:bytes limit:bytes",
    "A frame of kind {kind} announces {size} bytes; {limit} are the most.", _PEER,
)  # fmt: skip
FRAME_OUT_OF_PLACE = Reason(
    2401, "frame_out_of_place", "kind:count stream:text",
    "A frame of kind {kind} does not belong on the stream {stream}.", _PEER,
)  # fmt: skip
MESSAGE_MALFORMED = Reason(
    2402, "message_malformed", "kind:count why:text",
    "A message of kind {kind} cannot be read: {why}", _PEER,
)  # fmt: skip
HELLO_MISSING = Reason(
    2403, "hello_missing", "kind:count",
    "A stream begins with a frame of kind {kind} instead of a greeting.", _PEER,
)  # fmt: skip
OTHER_CHAIN = Reason(
    2404, "other_chain", "theirs:text ours:text",
    "The peer is of the network {theirs}; this node is of {ours}.",
    "Remove the address from `bootstrap`, or use that network's genesis file.",
)  # fmt: skip
OTHER_PROTOCOL = Reason(
    2405, "other_protocol", "theirs:count ours:count",
    "The peer speaks version {theirs} of the network protocol; this node speaks {ours}.",
    "Update the older of the two programs. The node asks again every few minutes.",
)  # fmt: skip
PEER_SILENT = Reason(
    2406, "peer_silent", "seconds:seconds",
    "The peer has sent nothing for {seconds} s.",
    "The node dials it again by itself; look at that machine if it stays away.",
)  # fmt: skip
TOO_MANY_STREAMS = Reason(
    2408, "too_many_streams", "streams:count",
    "The peer has opened {streams} streams at a time.", _PEER,
)  # fmt: skip
TOO_MUCH_UNREAD = Reason(
    2409, "too_much_unread", "size:bytes",
    "The peer has sent {size} bytes that nobody asked for.", _PEER,
)  # fmt: skip
PEER_GONE = Reason(
    2410, "peer_gone", "peer:text",
    "There is no connection to {peer}.",
    "Nothing to do: another peer is asked.",
)  # fmt: skip
REQUEST_UNANSWERED = Reason(
    2411, "request_unanswered", "peer:text kind:count why:text",
    "{peer} did not answer a request of kind {kind}: {why}.",
    "Nothing to do: another peer is asked.",
)  # fmt: skip
ADDRESS_TAKEN = Reason(
    2412, "address_taken", "address:text why:text",
    "The node cannot listen for peers at {address}: {why}.",
    "Stop the other program, or change [p2p] listen.",
)  # fmt: skip
PEER_ADDRESS_MALFORMED = Reason(
    2413, "peer_address_malformed", "address:text why:text",
    "{address} is not a peer's address: {why}.",
    "Write it as /ip4/192.0.2.1/tcp/26656/p2p/ID or /dns4/NAME/tcp/26656/p2p/ID.",
)  # fmt: skip
NODE_KEY_DAMAGED = Reason(
    2414, "node_key_damaged", "path:text why:text",
    "{path} is not a node key: {why}.",
    "Restore it, or delete it: the node then makes a new one and is a stranger to its peers.",
)  # fmt: skip
NETWORK_KEEPS_FAILING = Reason(
    2415, "network_keeps_failing", "deaths:count seconds:seconds last:text",
    "The network part failed {deaths} times within {seconds} s, last with {last}.",
    "Start the node again; if it goes on, report it with the log.",
)  # fmt: skip
HELLO_FALSE = Reason(
    2416, "hello_false", "",
    "The peer greets as a validator, but the signature is not of that key.", _PEER,
)  # fmt: skip
IDENTITY_SHARED = Reason(
    2417, "identity_shared", "peer:text",
    "Another running node has the network identity {peer} as well.",
    "Stop one of the two. To run both, delete config/node_key.json in one home while it is stopped: it then "
    "makes an identity of its own. A copied validator must never run beside its original.",
)  # fmt: skip
REFUSED_BY_PEER = Reason(
    2418, "refused_by_peer", "peer:text code:count",
    "{peer} does not take this node's connections, for the reason {code}.",
    "`eubchain help error {code}` explains it. The node asks again every few minutes.",
)  # fmt: skip
MDNS_REFUSED = Reason(
    2419, "mdns_refused", "chain_id:text",
    "[p2p] mdns is for development networks only; {chain_id} is none.",
    "Set mdns = false and name nodes to begin with in [p2p] bootstrap.",
)  # fmt: skip
NOBODY_MET = Reason(
    2420, "nobody_met", "seconds:seconds known:count why:text",
    "No peer has been connected for {seconds} s; of {known} known addresses: {why}.",
    "Compare [p2p] bootstrap and network_key with another node's, and see that its port lets you in. "
    "The node tries on by itself.",
)  # fmt: skip


class Unsuited(Fault):
    """A peer cannot be talked with, and has broken no rule: it is told why and let go."""


class PeerFault(Fault):
    """A peer broke the rules of the network: its connection ends. `penalty` is taken from its score."""

    penalty = 50


@contextmanager
def blaming(kind: int) -> Iterator[None]:
    """What the rules refuse in an answer to a request of this kind, the peer that gave it is to blame for."""
    try:
        yield
    except Fault as fault:
        raise PeerFault(MESSAGE_MALFORMED, kind=int(kind), why=str(fault)) from None
