"""What `spark status` says: earnings, market, machine, and what to change.

Here: the facts that the agent writes beside its journal, and the lines made of them.
Not here: printing (eubchain/cli). Keeps: the same facts as text and as JSON; whatever the agent knows it
wrote down, so that a status needs no running node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from consensus.types.amounts import format_eubc
from spark_node.earnings import summary
from spark_node.folder import RETIRE, Folder, write_durably
from spark_node.journal import SeatNote
from spark_node.market_notes import advice, market_sentence, tally
from spark_node.offering import WhyNot
from spark_node.seats import AT_WORK

if TYPE_CHECKING:
    from spark_node.agent import Agent

DAY_MS = 86_400_000


def status_of(agent: Agent) -> dict[str, Any]:
    """Everything that `status` shows, as JSON."""
    now = agent.means.now_ms()
    policy, machine = agent.means.policy.policy, agent.means.machine
    found = tally(list(agent.market.notes.rows.values()), now)
    held = agent.held_by()
    lent = agent.lent()
    return {
        "time_ms": now,
        "height": agent.heights.height,
        "chain": "away" if agent.is_away else "ok",
        "phase": _phase(agent),
        "registered": agent.spark is not None and agent.spark.is_active,
        "kappa": agent.spark.kappa if agent.spark is not None else 0,
        "spendable": str(agent.spendable),
        "today": summary(agent.folder, list(agent.journal.notes.values()), now - DAY_MS),
        "market": msgspec.to_builtins(found),
        "market_sentence": market_sentence(found),
        "machine": machine.describe(),
        "lent": {**lent._asdict(), "runtimes": list(lent.runtimes)},
        "gpus_held": [held.describe() for held in agent.gpus.held.values()],
        "held_by": held.value if held is not None else "",
        "held_why": _held_why(agent, held),
        "seats": [_seat(agent, note) for note in agent.journal.unsettled()],
        "proving": agent.proving.now,
        "proved": agent.proving.last,
        "policy_trouble": str(agent.means.policy.trouble or ""),
        "try": advice(found, policy.gpu_hour if lent.gpus else policy.cpu_hour),
    }


def _phase(agent: Agent) -> str:
    if any(seat.stage in AT_WORK for seat in agent.seats.stages.values()):
        return "paused" if agent.held_by() is not None else "running"
    if agent.folder.has_wish(RETIRE):
        return "retiring"
    return "waiting"


def _held_why(agent: Agent, held: WhyNot | None) -> str:
    if held is WhyNot.PAUSED:
        return "paused by you; eubchain spark resume"
    if held is WhyNot.OWNER:
        minutes = -(-agent.verdict.wait_s // 60)
        return f"paused, {agent.verdict.why}; resumes after {minutes} min idle"
    return ""


def _seat(agent: Agent, note: SeatNote) -> dict[str, Any]:
    seat = agent.seats.stages.get(note.key)
    worker = agent.seats.workers.get(note.key)
    progress = worker.control.progress if worker is not None else None
    return {
        "task": note.task.hex(),
        "seat": note.seat,
        "price": str(note.price),
        "stage": seat.stage.name.lower() if seat is not None else "closed",
        "deadline": seat.deadline if seat is not None else 0,
        "last": note.moments[-1].what if note.moments else "",
        "progress": [progress.done, progress.total] if progress is not None else None,
    }


def write_status(folder: Folder, facts: dict[str, Any]) -> None:
    """Leave the facts for other commands. Blocks; raises `Fault` 3221."""
    write_durably(folder.status, msgspec.json.encode(facts))


def read_status(folder: Folder) -> dict[str, Any] | None:
    """What the agent wrote last, None when it never ran here."""
    try:
        facts: dict[str, Any] = msgspec.json.decode(folder.status.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return facts


def status_lines(facts: dict[str, Any], is_running: bool) -> list[str]:
    """The screen of `spark status`, without colours."""
    today = facts["today"]
    earned = f"{today['paid_tasks']} tasks today, {format_eubc(int(today['paid']))} EUBC"
    if today["failed_tasks"]:
        lost = format_eubc(int(today["lost"]))
        earned += f" · {today['failed_tasks']} failed, {lost} EUBC lost"
        if today["last_failed"]:
            earned += f" (eubchain spark history {today['last_failed'][:16]})"
    state = facts["held_why"] or (facts["phase"] if is_running else "the agent is not running")
    lines = [
        f"earning   {earned}",
        f"market    {facts['market_sentence']}",
        f"machine   {facts['machine']} · {state}",
    ]
    # An older agent's file may lie there, which knew nothing of these.
    lines += [f"gpu       {words}: neither lent nor proved with" for words in facts.get("gpus_held", ())]
    for seat in facts["seats"]:
        where = f"{seat['stage']} until block {seat['deadline']}" if seat["deadline"] else seat["stage"]
        done = f", {seat['progress'][0]}/{seat['progress'][1]}" if seat["progress"] else ""
        lines.append(f"task      {seat['task'][:16]} {where}{done}: {seat['last']}")
    if is_running and facts.get("proving"):
        lines.append(f"proving   {facts['proving']}")
    elif facts.get("proved"):
        lines.append(f"proved    {facts['proved']}")
    if not facts["registered"]:
        lines.append("chain     this account's spark is not registered or has retired: eubchain spark init")
    if facts["chain"] == "away":
        lines.append("chain     no node answers; what runs goes on")
    if facts["policy_trouble"]:
        lines.append(f"policy    {facts['policy_trouble']}")
    suggestion = facts["try"] if is_running else "eubchain spark start"
    if suggestion:
        lines.append(f"try       {suggestion}")
    return lines
