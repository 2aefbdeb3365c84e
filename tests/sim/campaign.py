"""The command behind scripts/sim: seeds by the thousand, on all cores.

    scripts/sim --seeds 0-99            a line a seed that failed, and a report
    scripts/sim --seeds 0-99 --json     {"seed", "ok", "heights", "faults", "violation"} a line
    scripts/sim --seeds 17 --trace      what every node logs, by virtual second
    scripts/sim --kind twins            every scenario of twins.py
    scripts/sim --kind traffic          what a height costs, by kind of message

Here: the command. Not here: what a seed does (node_seeds.py, agreement_seeds.py), the sum (report.py).
Keeps: lines go to stdout, the report to stderr, so that lines can be read by programs.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.sim import agreement_seeds, node_seeds, traffic, twins
from tests.sim.hunts import hunt_all
from tests.sim.outcome import Outcome
from tests.sim.report import report
from tests.sim.whole.running import trace

KINDS: dict[str, Callable[[int], Outcome]] = {
    "nodes": node_seeds.run_seed,
    "agreement": agreement_seeds.run_seed,
    "twins": twins.run_seed,
}

TRAFFIC = "traffic"
SEEDS = 100
CHUNK = {"nodes": 1, "agreement": 4, "twins": 200}
"""Seeds handed to a process at a time: some milliseconds to seconds of work."""


def seed_range(text: str) -> range:
    """ "A-B", both included, or one number."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds; the exit code is 1 if one failed. Interrupted, it reports what it has."""
    parser = argparse.ArgumentParser(prog="scripts/sim", description="Whole nodes under seeded misfortunes.")
    parser.add_argument(
        "--seeds", "--seed", type=seed_range, default=None, metavar="A-B", help="default 0-99; all twins"
    )
    parser.add_argument("--kind", choices=[*sorted(KINDS), TRAFFIC], default="nodes", help="default nodes")
    parser.add_argument("--validators", type=int, default=4, help="of --kind traffic; default 4")
    parser.add_argument("--json", action="store_true", help="print an object per seed")
    parser.add_argument("--planted", action="store_true", help="then plant known bugs and count those found")
    parser.add_argument("--trace", action="store_true", help="print what nodes log; for one seed")
    parser.add_argument("--processes", type=int, default=None, help="default: one per core")
    options = parser.parse_args(arguments)
    if options.kind == TRAFFIC:
        traffic.run(options.validators)
        return 0
    run_seed, outcomes = KINDS[options.kind], []
    if options.seeds is None:
        options.seeds = range(len(twins.all_scenarios())) if options.kind == "twins" else range(SEEDS)

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if options.json:
            print(json.dumps(outcome.line()), flush=True)
        elif not outcome.ok:
            print(f"seed {outcome.seed}: {outcome.violation}", flush=True)

    if options.trace:
        trace()
    if options.trace or len(options.seeds) == 1:
        for seed in options.seeds:
            tell(run_seed(seed))
    else:
        with ProcessPoolExecutor(options.processes) as pool:
            try:
                for outcome in pool.map(run_seed, options.seeds, chunksize=CHUNK[options.kind]):
                    tell(outcome)
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
    if options.planted:
        print(hunt_all(), file=sys.stderr)
    print(report(outcomes, "scenarios" if options.kind == "twins" else "seeds"), file=sys.stderr)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    # Started in the background by a shell it would ignore the first; whoever ends it gets the report.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    sys.exit(main())
