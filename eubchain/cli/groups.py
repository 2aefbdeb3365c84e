"""The command's groups and top-level verbs, in the order of its help.

Here: the two lists. Not here: the verbs. Keeps: importing this is cheap: a verb imports what it needs
(LevelDB, Docker, numpy) when it runs, so that `eubchain --help` answers at once.
"""

from __future__ import annotations

from eubchain.cli import (
    genesis,
    light,
    money,
    multisig,
    por_plot,
    por_proofs,
    query,
    setup,
    snapshot,
    spark,
    spark_bench,
    spark_init,
    stake,
    task,
    task_looks,
    task_steps,
    tx,
    wallet,
)
from eubchain.cli.devnet import devnet
from eubchain.cli.general import completion, explain, status, version
from eubchain.cli.ledger import export, inspect, replay, rollback
from eubchain.cli.peers import peers, show_node_id
from eubchain.cli.start import start
from eubchain.cli.testnet import testnet

GROUPS = [
    wallet.app,
    multisig.app,
    stake.stake,
    stake.validator,
    spark.app,
    query.query,
    tx.app,
    query.por,
    task.app,
    genesis.app,
    light.app,
    snapshot.app,
    setup.signer,
    explain,
]
TOP_LEVEL = [
    setup.init,
    start,
    status,
    devnet,
    testnet,
    peers,
    setup.show_validator,
    show_node_id,
    inspect,
    replay,
    rollback,
    export,
    completion,
    version,
]

assert money.app is wallet.app, "one group in two files"
assert spark_bench.app is spark_init.app is spark.app, "one group in three files"
assert por_proofs.por is por_plot.por is query.por, "one group in three files"
assert task.app is task_looks.app is task_steps.app, "one group in three files"
