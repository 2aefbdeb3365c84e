"""Opening a task: keys, sealed input, signature, journal, and only then the transaction.

Here: `post_task`, `resume_post` after a crash.
Not here: what is asked before (preview.py), what follows (following.py).
Keeps: nothing is sent whose keys are not on disk; what was signed and may still be included is finished,
never signed anew.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from consensus.types.errors import Fault
from eubchain.client.connection import RemoteRefusal
from eubchain.client.payments import conclude, sign_recorded
from eubchain.client.sending import EXPIRED_NOT_INCLUDED, Signed, final_of, look_up
from eubchain.client.task_run.granting import job_of
from eubchain.client.task_run.inputs import Measured, measure, seal_input
from eubchain.client.task_run.journal import Journal, JournalState, new_keys, wish_of
from eubchain.client.task_run.order import Order, check_order, post_of, spec_of
from eubchain.client.task_run.preview import Preview
from eubchain.client.task_run.requester import Requester, finish_step, prepare_step
from spark_node.job import SALT_BYTES
from spark_node.storage.age_keys import parse_identity, recipient_of


async def find_begun(requester: Requester, order: Order) -> Journal | None:
    """The task that this very order began before and nobody was told the end of; raise `Fault` 3152, 3312.

    Asked before anything else is checked: that task may have filled the output, or taken the only spark.
    """
    check_order(order)
    measured = await measure(order)
    return requester.journals.unfinished(_wish(requester, order, measured))


def _wish(requester: Requester, order: Order, measured: Measured) -> bytes:
    return wish_of(requester.network.rules.genesis, requester.address, order, measured.mark)


async def sign_post(requester: Requester, preview: Preview) -> Journal:
    """Seal the input, sign the post and begin its journal; nothing is sent yet.

    Raise `Fault` 340x, 341x of sealing, 3040–3043 of the outbox, `RemoteRefusal` of the simulation.
    """
    order, network = preview.order, requester.network
    with requester.journals.staging() as staged:
        keys = new_keys(staged, secrets.token_bytes(SALT_BYTES))
        sealed = await seal_input(order, keys, staged)
        recipient = recipient_of(parse_identity(keys.own))
        spec = spec_of(order, preview.measured.module_digest, preview.measured.size, recipient)
        payload = post_of(order, spec, preview.windows, preview.allow, preview.avoid, preview.not_before)
        prepared = await prepare_step(requester, payload)
        signed = await sign_recorded(requester.node, prepared, requester.outbox, requester.secret)
        state = JournalState(
            task=signed.txid.hex(),
            wish=_wish(requester, order, preview.measured).hex(),
            genesis=network.rules.genesis.hex(),
            account=requester.name,
            valid_until=signed.valid_until,
            posted_s=int(time.time()),
            program=order.program,
            runtime=order.runtime,
            maximum=order.maximum,
            output=str((order.output or _usual_output(signed.txid)).absolute()),
            check=str(order.check.absolute()) if order.check is not None else "",
            pass_mark=order.pass_mark,
            cloud_hour=order.cloud_hour,
            place=preview.place,
            input_digest=sealed.digest.hex() if sealed is not None else "",
            input_bytes=sealed.size if sealed is not None else 0,
        )
        job = job_of(order, keys, sealed, preview.place)
        return requester.journals.begin(staged, state, job, signed.raw)


def _usual_output(txid: bytes) -> Path:
    return Path(f"result-{txid.hex()[:8]}")


async def finish_post(requester: Requester, journal: Journal) -> bool:
    """Bring the signed post into a block, whatever became of it before; False when it has expired.

    An expired post was never included: nothing was spent. Raise `RemoteRefusal` when the chain refused it,
    `Fault` 311x when its fate is not known yet.
    """
    node, outbox, state = requester.node, requester.outbox, journal.state
    view = await look_up(node, journal.task)
    if view is not None and view["height"]:
        final = final_of(view)
        conclude(outbox, final)
        journal.note(fees=max(state.fees, final.fee), is_told=final.error is not None)
        if final.error is not None:
            raise RemoteRefusal(final.error)
        return True
    if view is None and (await node.call("chain_status"))["height"] >= state.valid_until:
        outbox.settle(journal.task, "expired")
        journal.note(is_told=True)
        return False
    try:
        await finish_step(requester, Signed(journal.post(), journal.task, state.valid_until), journal)
    except RemoteRefusal:
        journal.note(is_told=True)
        raise
    except Fault as fault:
        if fault.reason is not EXPIRED_NOT_INCLUDED:
            raise
        journal.note(is_told=True)
        return False
    return True
