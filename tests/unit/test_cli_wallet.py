"""Paying from the command line: what is shown, what is asked, what is refused, and never twice.

Rules: the command runs in this process on a temporary home; a node in memory makes a block for each wait.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.types.address import format_address
from consensus.types.amounts import eubc
from eubchain.cli.session import SESSION
from eubchain.node.validator_key import ValidatorKey, read_validator_key, write_validator_key
from tests.cli_world import Cli
from tests.rpc_world import WorldNode, patched
from tests.world import World
from vm.account import Transfer
from vm.validator import VALIDATORS


class Purse:
    """Alice's wallet on a network where Bob is known to nobody here."""

    def __init__(self, cli: Cli, node: WorldNode) -> None:
        self.cli, self.node, self.world = cli, node, node.world
        cli.add_person(self.world, "alice")
        self.bob = self.address("bob")

    def address(self, name: str, prefix: str = "deub") -> str:
        return format_address(self.world[name].address, prefix)

    @property
    def received(self) -> int:
        """Grains that bob has got."""
        return self.world.balance("bob") - eubc(10_000)


@pytest.fixture
def purse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Purse]:
    with patched(WorldNode(), monkeypatch) as node:
        yield Purse(Cli(tmp_path / "home", monkeypatch, capsys), node)


def test_a_payment_shows_everything_asks_and_ends_with_the_next_command(purse: Purse) -> None:
    result = purse.cli("wallet", "send", purse.bob, "1.5", typed="y\n")
    assert result.code == 0
    for shown in ("eub-dev-test (dev)", purse.bob, "not paid from here before", "1.5 EUBC", "at most", "→"):
        assert shown in result.err, shown
    txid = result.err.split("txid ")[1].split()[0]
    assert "final in block" in result.out
    assert result.err.rstrip().endswith(f"next: eubchain --home {purse.cli.home} tx get {txid}")
    assert purse.received == eubc(1) * 3 // 2


def test_the_txid_is_printed_before_anything_is_sent(purse: Purse) -> None:
    purse.node.drop_after = "tx_submit"
    result = purse.cli("wallet", "send", purse.bob, "1", "--yes", "--json")
    assert result.code == 3
    assert result.error["name"] == "submission_uncertain"
    assert f"txid {result.error['facts']['txid']}" in result.err


def test_no_leaves_no_transaction(purse: Purse) -> None:
    result = purse.cli("wallet", "send", purse.bob, "1.5", typed="n\n")
    assert result.code == 2
    assert "3900" in result.err
    assert "tx_submit" not in purse.node.calls
    assert not purse.cli.home.joinpath("wallet", "outbox.jsonl").exists()


def test_where_nobody_can_answer_it_refuses_at_once(purse: Purse) -> None:
    assert purse.cli("wallet", "send", purse.bob, "1.5").code == 2
    assert purse.cli("wallet", "send", purse.bob, "1.5", "--json").error["name"] == "not_confirmed"


def test_an_address_of_another_network_names_both(purse: Purse) -> None:
    result = purse.cli("wallet", "send", purse.address("bob", "teub"), "1", "--yes")
    assert result.code == 2
    assert "test network" in result.err
    assert "dev network" in result.err
    assert "tx_submit" not in purse.node.calls


def test_one_wrong_letter_is_a_checksum_and_no_node_is_asked(purse: Purse) -> None:
    wrong = purse.bob[:-1] + ("q" if purse.bob[-1] != "q" else "p")
    result = purse.cli("wallet", "send", wrong, "1", "--yes")
    assert result.code == 2
    assert "checksum" in result.err
    assert not purse.node.calls


@pytest.mark.parametrize("amount", ["-1", "1.123456789", "0", "1e3", "many"])
def test_an_amount_that_is_none_is_a_mistake_on_the_line(purse: Purse, amount: str) -> None:
    assert purse.cli("wallet", "send", purse.bob, "--yes", "--", amount).code == 2
    assert not purse.node.calls


def test_too_much_is_refused_in_the_chains_own_words_with_exit_code_4(purse: Purse) -> None:
    result = purse.cli("wallet", "send", purse.bob, "50000", "--yes")
    assert result.code == 4
    assert "can spend 9999.9999" in result.err
    assert "this needs 50000 EUBC" in result.err
    assert "eubchain help error 1110" in result.err


def test_all_leaves_nothing_that_could_still_be_sent(purse: Purse) -> None:
    assert purse.cli("wallet", "send", purse.bob, "all", "--yes").code == 0
    assert purse.world.balance("alice") < 10_000  # what the fee might have been
    assert purse.world.balance("bob") > eubc(19_999)


def test_the_same_line_again_is_refused_where_nobody_can_be_asked(purse: Purse) -> None:
    first = purse.cli("wallet", "send", purse.bob, "1", "--yes", "--json").json
    again = purse.cli("wallet", "send", purse.bob, "1", "--yes", "--json")
    assert again.code == 1
    assert again.error["name"] == "already_signed"
    assert again.error["facts"]["txid"] == first["txid"]
    assert purse.received == eubc(1)
    assert purse.cli("wallet", "send", purse.bob, "1", "--yes", "--again").code == 0
    assert purse.received == eubc(2)


def test_the_same_line_again_asks_a_person(purse: Purse) -> None:
    purse.cli("wallet", "send", purse.bob, "1", "--yes")
    no = purse.cli("wallet", "send", purse.bob, "1", typed="n\n")
    assert no.code == 2
    assert "is in a block already" in no.err
    yes = purse.cli("wallet", "send", purse.bob, "1", typed="y\ny\n")
    assert yes.code == 0
    assert purse.received == eubc(2)


def test_killed_between_signature_and_sending_the_repetition_finishes_the_first(purse: Purse) -> None:
    purse.node.drop_after = "tx_submit"
    broken = purse.cli("wallet", "send", purse.bob, "1", "--yes", "--json")
    txid = broken.error["facts"]["txid"]
    result = purse.cli("wallet", "send", purse.bob, "1", typed="y\n")
    assert result.code == 0
    assert txid in result.err
    assert "waits for a block" in result.err
    assert purse.received == eubc(1)


def test_a_transaction_that_fails_in_its_block_says_why_and_what_it_cost(purse: Purse) -> None:
    """Two ways back of one bond: each would succeed alone, the second meets the first in its block."""
    assert purse.cli("stake", "bond", "100", "--yes").code == 0
    purse.node.makes_blocks = False
    assert purse.cli("stake", "unbond", "100", "--yes", "--no-wait").code == 0
    purse.node.makes_blocks = True
    result = purse.cli("stake", "unbond", "60", "--yes", "--json")
    assert result.code == 4
    assert result.error["name"] == "bond_not_free"
    assert "its fee of" in result.error["sentence"]
    assert f"txid {result.error['facts']['txid']}" in result.err
    assert purse.cli("stake", "unbond", "60", "--yes", "--json").error["name"] == "bond_not_free"


def test_a_network_founded_anew_at_the_same_address_is_refused_until_forgotten(
    purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert purse.cli("wallet", "send", purse.bob, "1", "--yes").code == 0
    with patched(WorldNode(World(validators=2)), monkeypatch):
        refused = purse.cli("wallet", "send", purse.bob, "2", "--yes")
        assert refused.code == 1
        assert "3102" in refused.err
        assert purse.cli("wallet", "balance").code == 1
        assert purse.cli("wallet", "forget-network").code == 0
        assert purse.cli("wallet", "send", purse.bob, "2", "--yes").code == 0


def test_history_shows_the_place_in_the_queue_and_the_countdown(purse: Purse) -> None:
    purse.node.makes_blocks = False
    sent = purse.cli("wallet", "send", purse.bob, "1", "--yes", "--no-wait", "--lifetime", "5", "--json").json
    purse.world.pending = []
    waiting = purse.cli("wallet", "history", "--json").json["waiting"]
    assert [(w["txid"][2:], w["ahead"], w["blocks_left"]) for w in waiting] == [(sent["txid"], 0, 5)]
    assert "0 ahead of it, tip 1, 5 blocks until it expires" in purse.cli("wallet", "history").out
    purse.node.mempool.drop(bytes.fromhex(sent["txid"]))  # never taken up
    for _ in range(6):
        purse.node.make_block()
    assert "expired, nothing spent" in purse.cli("wallet", "history").out
    assert "expired" not in purse.cli("wallet", "history").out, "told once"


def test_a_long_thought_at_the_question_does_not_shorten_the_payments_life(
    purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary waits for an answer while blocks go on; what is signed then is valid from then on."""
    ask = SESSION.ask

    def think(question: str) -> bool:
        for _ in range(8):
            purse.node.make_block()
        return ask(question)

    monkeypatch.setattr(SESSION, "ask", think)
    assert purse.cli("wallet", "send", purse.bob, "1", "--lifetime", "5", typed="y\n").code == 0


def test_without_an_index_history_never_says_that_nothing_was_spent(
    purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with patched(WorldNode(indexed=False), monkeypatch) as node:
        node.makes_blocks = False
        assert purse.cli("wallet", "send", purse.bob, "1", "--yes", "--no-wait", "--lifetime", "2").code == 0
        for _ in range(4):
            node.make_block()
        assert "unknown: this node keeps no index" in purse.cli("wallet", "history").out


def test_history_lists_what_was_paid_and_received(purse: Purse) -> None:
    purse.cli("wallet", "send", purse.bob, "1.25", "--yes")
    purse.world.succeed("bob", Transfer(purse.world["alice"].address, eubc(2)))
    out = purse.cli("wallet", "history").out
    assert f"-1.25 EUBC to {purse.bob}" in out
    assert f"+2 EUBC from {purse.bob}" in out


def test_a_new_account_shows_its_words_once_and_asks_for_one_of_them(purse: Purse) -> None:
    wrong = purse.cli("wallet", "new", "savings", typed="nonsense\n")
    assert wrong.code == 1
    assert "words_not_confirmed" in str(wrong.err) or "3906" in wrong.err
    assert "savings" not in purse.cli.wallet.names()
    made = purse.cli("wallet", "new", "savings", "--json").json
    file = Path(purse.cli.wallet.key_account("savings").file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made["words"].split()[0] not in file.read_text().split()
    restored = purse.cli("wallet", "import", "restored", "--json", piped=made["words"]).json
    assert restored["address"] == made["address"]
    assert purse.cli("wallet", "export", "savings", "--yes", "--json").json["words"] == made["words"]


def test_words_never_reach_the_screen_of_show_and_list(purse: Purse) -> None:
    secret = purse.world["alice"].secret.secret().hex()
    for line in (("wallet", "list"), ("wallet", "show", "alice"), ("wallet", "balance", "alice")):
        result = purse.cli(*line)
        assert result.code == 0
        assert secret not in result.out + result.err
    exported = purse.cli("wallet", "export", "alice", "--key", "--yes", "--json").json
    assert exported["secret_key"] == secret


def test_a_signed_text_verifies_and_a_changed_one_does_not(purse: Purse) -> None:
    signed = purse.cli("wallet", "sign", "I run node 7", "--json").json
    line = ("wallet", "verify", signed["address"])
    assert purse.cli(*line, "I run node 7", signed["signature"]).code == 0
    assert purse.cli(*line, "I run node 8", signed["signature"]).code == 1
    other = format_address(purse.world["bob"].address, "deub")
    assert purse.cli("wallet", "verify", other, "I run node 7", signed["signature"]).code == 1


def test_a_wrong_password_is_told_apart_and_signs_nothing(purse: Purse) -> None:
    purse.cli.password_file.write_text("wrong\n")
    result = purse.cli("wallet", "send", purse.bob, "1", "--yes")
    assert result.code == 1
    assert "3017" in result.err
    assert "tx_submit" not in purse.node.calls


def test_an_exposed_password_file_is_warned_of(purse: Purse) -> None:
    purse.cli.password_file.chmod(0o644)
    result = purse.cli("wallet", "send", purse.bob, "1", "--yes")
    assert result.code == 0
    assert "warning: Other users of this machine can read" in result.err


def test_a_board_pays_by_a_file_from_hand_to_hand(purse: Purse, tmp_path: Path) -> None:
    purse.cli.add_person(purse.world, "carol")
    assert purse.cli("multisig", "new", "board", "2", "alice", "carol").code == 0
    board = purse.cli.wallet.account("board").address
    purse.world.succeed("bob", Transfer(board, eubc(100)))
    file, copy = str(tmp_path / "pay.json"), str(tmp_path / "copy.json")
    made = purse.cli("multisig", "pay", "board", purse.address("carol"), "25", file)
    assert made.code == 0
    assert f"next: eubchain --home {purse.cli.home} multisig sign {file}" in made.err
    assert purse.cli("multisig", "send", file, "--yes", "--json").error["name"] == "signatures_missing"
    Path(copy).write_bytes(Path(file).read_bytes())
    shown = purse.cli("multisig", "sign", file, "--from", "alice", typed="y\n")
    assert "25 EUBC" in shown.err
    assert purse.cli("multisig", "sign", copy, "--from", "carol", "--yes").code == 0
    both = str(tmp_path / "both.json")
    assert purse.cli("multisig", "combine", file, copy, "--out", both).code == 0
    before = purse.world.balance("carol")
    assert purse.cli("multisig", "send", both, "--yes").code == 0
    assert purse.world.balance("carol") == before + eubc(25)
    again = purse.cli("multisig", "pay", "board", purse.address("carol"), "25", str(tmp_path / "2.json"))
    assert "3110" in again.err


def test_bond_show_unbond(purse: Purse) -> None:
    assert purse.cli("stake", "bond", "100", "--yes").code == 0
    assert "100 EUBC bonded" in purse.cli("stake", "show").out
    assert purse.cli("stake", "unbond", "40", "--yes").code == 0
    shown = purse.cli("stake", "show", "--json").json
    assert shown["bonded"] == str(eubc(60))
    assert shown["unbonding"][0]["amount"] == str(eubc(40))


def test_a_validator_that_missed_is_told_which_heights_and_why(purse: Purse) -> None:
    with_two = WorldNode(World(validators=4))
    for _ in range(3):
        with_two.make_block()
    with_two.world.block(absent=("v1",))
    with_two.make_block()
    with_two.world.block(absent=("v1", "v2"))
    purse.cli("wallet", "forget-network")
    with pytest.MonkeyPatch.context() as patch, patched(with_two, patch):
        address = format_address(with_two.world["v1"].address, "deub")
        out = purse.cli("validator", "show", address).out
        assert "missed 4: the others signed without it" in out
        assert "missed 6: more than a quarter of power was absent with it" in out
        listed = purse.cli("validator", "list", "--json").json["validators"]
        assert len(listed) == 4


def test_a_jailed_validator_is_told_the_line_that_mends_it(
    purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = WorldNode(World(validators=5))
    purse.cli.add_person(node.world, "v1", account="operator")
    node.world.until_epoch_end(absent=("v1",))
    with patched(node, monkeypatch):
        early = purse.cli("validator", "show", "operator", "--json").json
        assert early["validator"]["status"] == "jailed"
        assert early["next"].startswith("eubchain validator unjail --from operator   (from height")
        refused = purse.cli("validator", "unjail", "--from", "operator", "--yes")
        assert refused.code == 4
        assert "jailed until epoch" in refused.err
        node.world.until_height(early["validator"]["unjail_height"])
        assert purse.cli("validator", "show", "operator").err.rstrip().endswith("unjail --from operator")
        assert purse.cli("validator", "unjail", "--from", "operator", "--yes").code == 0


def test_an_account_with_a_bond_and_a_key_becomes_a_validator(purse: Purse) -> None:
    newcomer = purse.world.add_operator("newcomer")
    purse.world.succeed("alice", Transfer(newcomer.address, eubc(1_000)))
    purse.cli.add_person(purse.world, "newcomer")
    purse.cli.wallet.set_default("newcomer")
    address = purse.address("newcomer")
    file = purse.cli.home / "config" / "validator_key.json"
    write_validator_key(file, ValidatorKey(address, newcomer.consensus, bytes(32), 0, 64))
    line = ("validator", "register", "--name", "lab-7", "--yes")
    assert purse.cli(*line, "--json").error["name"] == "bond_below_minimum"
    assert purse.cli(*line, "--from", "alice", "--json").error["name"] == "bad_argument", (
        "another account's key"
    )
    assert purse.cli("stake", "bond", "200", "--yes").code == 0
    assert purse.cli(*line).code == 0
    assert purse.cli("validator", "update", "--name", "lab-8", "--yes").code == 0
    shown = purse.cli("validator", "show", "--json").json["validator"]
    assert (shown["name"], shown["status"], shown["key"]) == (
        "lab-8",
        "active",
        "0x" + newcomer.consensus.public.hex(),
    )


def test_a_renewed_reveal_chain_is_one_that_has_revealed_nothing(purse: Purse) -> None:
    """The home's own chain again would show what everybody has seen; asked twice, it is raised once."""
    newcomer = purse.world.add_operator("newcomer")
    purse.world.succeed("alice", Transfer(newcomer.address, eubc(1_000)))
    purse.cli.add_person(purse.world, "newcomer")
    purse.cli.wallet.set_default("newcomer")
    file = purse.cli.home / "config" / "validator_key.json"
    key = ValidatorKey(purse.address("newcomer"), newcomer.consensus, bytes(32), 0, 64)
    write_validator_key(file, key)
    assert purse.cli("stake", "bond", "200", "--yes").code == 0
    assert purse.cli("validator", "register", "--name", "lab-7", "--yes").code == 0
    assert purse.cli("validator", "update", "--reveal", "--yes").code == 0
    raised = read_validator_key(file)
    assert raised is not None
    assert raised.generation == 1
    record = purse.world.read(VALIDATORS, newcomer.address)
    assert record.reveal == key.reveal_chain().commitment
    assert record.pending.reveal == raised.reveal_chain().commitment
    purse.cli("validator", "update", "--reveal", "--yes")
    again = read_validator_key(file)
    assert again is not None
    assert again.generation == 1
