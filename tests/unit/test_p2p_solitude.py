"""A node that meets nobody says so, once, and why."""

from __future__ import annotations

from structlog.testing import capture_logs

from p2p.solitude import ALONE_S, Solitude


class Company:
    """Whom a node knows, as a test wants it."""

    def __init__(self, known: int) -> None:
        self.known_addresses = known
        self.here: list[str] = []

    def upright(self) -> list[str]:
        """Peers that have greeted."""
        return self.here


def test_who_knows_no_address_expects_nobody_and_says_nothing():
    solitude = Solitude(Company(0))
    with capture_logs() as logs:
        for second in range(100):
            solitude.look(second)
    assert (solitude.fault, logs) == (None, [])


def test_who_met_nobody_for_a_while_warns_once_and_keeps_saying_it_when_asked():
    solitude = Solitude(Company(3))
    with capture_logs() as logs:
        solitude.look(50.0)
        solitude.look(50.0 + ALONE_S - 1)
        assert solitude.fault is None
        for second in range(30):
            solitude.look(50.0 + ALONE_S + second)
    assert len(logs) == 1
    assert logs[0]["log_level"] == "warning"
    assert "network_key" in logs[0]["do"]
    assert "for 39 s" in str(solitude.fault)


def test_an_open_port_that_answers_nonsense_is_told_from_one_where_nobody_listens():
    solitude = Solitude(Company(1))
    solitude.look(0.0)
    solitude.look(ALONE_S)
    assert "network keys differ" in str(solitude.fault)
    solitude.dial_failed(took_s=0.01)
    solitude.look(ALONE_S + 1)
    assert "nobody listens" in str(solitude.fault)
    solitude.dial_failed(took_s=30.0)
    solitude.look(ALONE_S + 2)
    assert "network keys differ" in str(solitude.fault)


def test_a_peer_ends_it_and_the_next_time_is_news_again():
    company = Company(1)
    solitude = Solitude(company)
    with capture_logs() as logs:
        for start_s in (0.0, 100.0):
            company.here = []
            solitude.look(start_s)
            solitude.look(start_s + ALONE_S)
            company.here = ["12D3KooW"]
            solitude.look(start_s + ALONE_S + 1)
            assert solitude.fault is None
    assert len(logs) == 2
