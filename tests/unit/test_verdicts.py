"""Verdicts by processes: the same as the reference, shared out, made anew when a process dies; and a node
that follows takes proofs as the network judged them until a root says otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from consensus.resource.proof import Claim, share_bytes
from consensus.resource.windows import last_proof_at
from consensus.types.block import Block, Commit
from consensus.types.errors import Fault
from consensus.types.reader import MemoryState
from consensus.types.tree import empty_tree, update_tree
from eubchain.ledger.ledger import Ledger
from eubchain.node import verdicts as module
from eubchain.node.execution import Execution
from eubchain.node.verdicts import VERDICTS_FAILING, Verdicts, _shared_out
from tests.proving import TILES, Provers, always
from vm.claims import judge_here
from vm.genesis import genesis_writes
from vm.measuring import FALSE_SHARE
from vm.registry import decode_candidate
from vm.slices import to_the_end
from vm.transition import Outcome


def claim_of(account: int, difficulty: int, count: int = 8) -> Claim:
    """A claim of the first tiles."""
    address = bytes([account]) * 20
    return Claim(1, 7, bytes(32), address, difficulty, share_bytes(TILES[:count]), tuple(range(count)))


def test_processes_find_what_the_reference_finds() -> None:
    """True ones, false ones, and one whose sample misses nothing."""
    asked = [claim_of(1, 1), claim_of(2, 2**40), claim_of(3, 2), claim_of(4, 1, 0)]
    verdicts = Verdicts(processes=2)
    trio.run(verdicts.complete, asked)
    assert [verdicts.judge(claim) for claim in asked] == [judge_here(claim) for claim in asked]
    assert verdicts._known.keys() == set(asked)


def test_work_is_shared_out_evenly_and_little_work_starts_one_process() -> None:
    many = [claim_of(i, 1, 56) for i in range(40)]
    batches = _shared_out(many, 4)
    assert sorted(len(batch) for batch in batches) == [10, 10, 10, 10]
    assert sorted((c for batch in batches for c in batch), key=lambda c: c.account) == many
    assert len(_shared_out(many[:3], 4)) == 1


def test_a_process_that_keeps_dying_is_a_fault_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0)
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(Fault) as fault:
        trio.run(Verdicts().complete, [claim_of(1, 1)])
    assert fault.value.reason is VERDICTS_FAILING


@pytest.mark.parametrize("broken", ["/bin/false", "/bin/echo", "/nowhere"])
def test_a_block_waits_for_verdicts_that_no_process_gives_and_is_not_called_invalid(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that die, talk nonsense or cannot be started say nothing about a proof."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    executable, asked, verdicts = module.sys.executable, [claim_of(1, 1), claim_of(2, 2**40)], Verdicts()

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            monkeypatch.setattr(module.sys, "executable", broken)
            nursery.start_soon(verdicts.answer, asked)
            with trio.fail_after(120):
                await given_up.wait()
            assert not verdicts._known
            monkeypatch.setattr(module.sys, "executable", executable)

    given_up = trio.Event()
    monkeypatch.setattr(module.log, "error", lambda words, **facts: given_up.set())
    trio.run(story)
    assert [verdicts.judge(claim) for claim in asked] == [judge_here(claim) for claim in asked]


def test_a_process_that_is_stopped_is_killed_and_its_claims_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the node would be silent until it is started again. A slow one gets longer with each try."""
    stopped, worker = tmp_path / "stopped", tmp_path / "worker"
    once = f"[ -e {stopped} ] || {{ echo $$ > {stopped}; kill -STOP $$; }}"
    worker.write_text(f'#!/bin/sh\n{once}\nexec {sys.executable} "$@"\n')
    worker.chmod(0o700)
    warned: list[str] = []
    monkeypatch.setattr(module.log, "warning", lambda words, **facts: warned.append(words))
    monkeypatch.setattr(module.sys, "executable", str(worker))
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "START_S", 0.5)
    asked, verdicts = [claim_of(1, 1), claim_of(2, 2**40)], Verdicts()

    async def story() -> None:
        with trio.fail_after(120):
            await verdicts.answer(asked)

    trio.run(story)
    assert [verdicts._known[claim] for claim in asked] == [judge_here(claim) for claim in asked]
    assert any("hangs" in words for words in warned)
    assert verdicts._patience == 1, "the next window begins anew"
    with pytest.raises(ProcessLookupError):
        os.kill(int(stopped.read_text()), 0)


def test_judging_ahead_outlives_processes_that_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """The close asks again; a node does not end over it."""
    monkeypatch.setattr(module, "RETRY_S", 0)
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    said = trio.Event()
    monkeypatch.setattr(module.log, "error", lambda words, **facts: said.set())
    world, verdicts = Provers(params=always()), Verdicts()
    world.until_open()
    world.prove("alice")
    while not verdicts._more.is_set():
        world.block()
        verdicts.look(world.view)

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(verdicts.run)
            with trio.fail_after(30):
                await said.wait()
            nursery.cancel_scope.cancel()

    trio.run(story)


def test_claims_are_judged_ahead_once_no_more_proofs_can_come() -> None:
    """A crowded window waits for the sample beacon, one block longer."""
    for budget, later in ((512, 0), (16, 1)):
        world = Provers(params=always(verify_budget=budget))
        verdicts = Verdicts()
        world.until_open()
        world.prove("alice")
        world.block()
        while not verdicts._more.is_set():
            verdicts.look(world.view)
            at = world.height
            world.block()
        assert at == last_proof_at(world.window.window) + later
        wanted = to_the_end(verdicts._wanted())
        assert [len(claim.checked) for claim in wanted] == [16 if later else 56]


class Recorded(Provers):
    """A world whose blocks a ledger can take: roots are those of the state tree."""

    def __init__(self) -> None:
        self.made: list[tuple[Block, Commit]] = []
        super().__init__()

    def root_after(self, outcome: Outcome) -> bytes:
        after = MemoryState(self.state.entries)
        after.write(outcome.writes)
        return update_tree(empty_tree(), after.entries).root

    def commit_for(self, block: Block, absent: object = ()) -> Commit:
        commit = super().commit_for(block)
        self.made.append((block, commit))
        return commit


class Watched(Verdicts):
    """Counts what is judged."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Claim] = []

    async def complete(self, wanted: object) -> None:
        self.asked += wanted  # type: ignore[arg-type]  # a sequence of claims
        await super().complete(wanted)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("is_false", [False, True])
def test_a_follower_judges_proofs_only_where_taking_them_as_true_gives_other_roots(
    tmp_path: Path, is_false: bool
) -> None:
    """An honest chain costs it nothing; a slashed lie costs it that one window."""
    world = Recorded()
    world.all_prove("alice")
    if is_false:
        # 56 shares raised the difficulty to four: of as many tiles taken blindly some are no shares.
        world.all_prove("alice")
    assert bool(world.events(FALSE_SHARE.code)) == is_false
    watched = trio.run(_follow, tmp_path / "ledger", world)
    assert [claim.difficulty for claim in watched.asked] == [4] * is_false


async def _follow(path: Path, world: Recorded) -> Watched:
    watched = Watched()
    writes = {key: value for key, value in genesis_writes(world.genesis).items() if value is not None}
    ledger = Ledger.create(path, world.genesis, writes)
    try:
        execution = Execution(ledger, world.rules, with_index=False, verdicts=watched)
        for block, commit in world.made:
            candidates = [decode_candidate(raw, world.rules) for raw in block.transactions]
            await execution.commit(await execution.execute(block, candidates, is_decided=True), commit)
    finally:
        ledger.close()
    return watched
