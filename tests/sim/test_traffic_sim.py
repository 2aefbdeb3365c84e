"""What a height costs: counted, so that a change that makes nodes talk more is seen."""

from __future__ import annotations

from tests.sim.traffic import measure, table


def test_a_quiet_height_of_four_costs_two_votes_a_link_and_one_proposal():
    """In fair weather: 4 · 3 links, two votes over each; proposal, header and parts to three peers."""
    measured = measure(4, 10)
    assert set(measured.rounds) == {0}
    assert measured.transactions == 0
    a_height = {kind: count / measured.heights for kind, count in measured.messages.items()}
    assert 24 <= a_height.pop("VOTE") < 26, "the edges of ten heights do not fall between votes"
    assert 3 <= a_height.pop("PROPOSAL") < 3.5
    assert 3 <= a_height.pop("BLOCK_PART") < 3.5
    assert a_height.pop("STATUS") < 20
    assert a_height == {}, "nothing else is said"
    assert sum(measured.bytes.values()) / measured.heights < 7_000


def test_a_payment_crosses_each_link_about_once():
    """Its bytes go to the three others; blocks name it by its id alone."""
    measured = measure(4, 10, payments=20.0)
    assert measured.transactions > 60
    carried = measured.bytes["TRANSACTIONS"] / measured.transactions
    assert 3 * 160 < carried < 4 * 200
    assert "ANSWER" not in measured.messages, "nobody had to ask"
    assert "20 payments" not in table(measured)
    assert "transactions" in table(measured)


def test_sixteen_validators_decide_in_their_first_round():
    """Votes grow with the square of the set, rounds do not."""
    measured = measure(16, 3)
    assert set(measured.rounds) == {0}
    assert measured.messages["VOTE"] / measured.heights < 2 * 16 * 15 * 1.1
