"""`por plot`: shares of blocks against shares of power, the band around them, and the picture itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from eubchain.cli.por_plot import BAR, OUTSIDE, PICTURE_UNWRITABLE, Row, binomial_band, draw
from eubchain.client.picture import Canvas, text_width
from tests.cli_world import Cli
from tests.rpc_world import WorldNode, patched
from tests.unit.test_examples import pixels_of
from tests.world import World

WHITE, RED = (255, 255, 255), (255, 0, 0)


def pixel(png: bytes, x: int, y: int) -> tuple[int, ...]:
    """One pixel, by a reader that shares nothing with the writer."""
    width, _, pixels = pixels_of(png)
    return tuple(pixels[3 * (y * width + x) : 3 * (y * width + x) + 3])


def colours(png: bytes) -> set[tuple[int, ...]]:
    """Every colour of a picture."""
    _, _, pixels = pixels_of(png)
    return {tuple(pixels[i : i + 3]) for i in range(0, len(pixels), 3)}


# ------------------------------------------------------------------------------------- the picture


def test_a_rectangle_is_filled_and_cut_off_at_the_edge() -> None:
    canvas = Canvas(6, 4)
    canvas.bar(4, -2, 10, 4, RED)
    canvas.bar(-9, 0, 5, 5, RED)
    png = canvas.png()
    assert pixels_of(png)[:2] == (6, 4)
    red = [(x, y) for y in range(4) for x in range(6) if pixel(png, x, y) == RED]
    assert red == [(4, 0), (5, 0), (4, 1), (5, 1)]


@pytest.mark.parametrize(
    ("start", "end", "between"),
    [((0, 2), (6, 2), (3, 2)), ((3, 6), (3, 0), (3, 3)), ((0, 0), (6, 6), (4, 4)), ((5, 5), (5, 5), (5, 5))],
)
def test_a_line_joins_its_ends(
    start: tuple[int, int], end: tuple[int, int], between: tuple[int, int]
) -> None:
    canvas = Canvas(7, 7)
    canvas.line(start, end, RED)
    png = canvas.png()
    assert [pixel(png, *place) for place in (start, between, end)] == [RED] * 3


def test_letters_are_drawn_cell_by_cell_and_unknown_ones_are_boxes() -> None:
    canvas = Canvas(text_width("t#", 1), 5)
    canvas.text(0, 0, "t#", RED, 1)
    png = canvas.png()
    rows = ["".join("#" if pixel(png, x, y) == RED else "." for x in range(7)) for y in range(5)]
    assert rows == ["###.###", ".#..###", ".#..###", ".#..###", ".#..###"]


# ---------------------------------------------------------------------------------------- the band


@pytest.mark.parametrize(("count", "chance"), [(1, 0.5), (20, 0.3), (200, 0.25), (1_000, 0.01)])
def test_the_band_is_the_binomial_one(count: int, chance: float) -> None:
    """No more than 2.5 % lie on either side, and one step less would leave more."""
    masses = [math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(count + 1)]
    low, high = binomial_band(count, chance)
    assert sum(masses[:low]) <= 0.025 < sum(masses[: low + 1])
    assert sum(masses[high + 1 :]) <= 0.025 < sum(masses[high:])


def test_who_has_all_power_or_none_has_no_band() -> None:
    assert (binomial_band(10, 1), binomial_band(10, 0), binomial_band(0, 0.5)) == ((10, 10), (0, 0), (0, 0))


def test_a_validator_outside_its_band_has_a_colour_of_its_own() -> None:
    inside, outside = Row("a", 0.5, 0.5, 0.4, 0.6), Row("b", 0.9, 0.5, 0.4, 0.6)
    assert OUTSIDE not in colours(Canvas(1, 1).png())
    # The legend names both colours; what differs is how many pixels there are of each.
    count = [pixels_of(draw([row], "T").png())[2].count(bytes(OUTSIDE)) for row in (inside, outside)]
    assert count[0] < count[1]
    assert {BAR, OUTSIDE} <= colours(draw([inside, outside], "T").png())


@pytest.mark.parametrize("many", [0, 1, 40])
def test_a_picture_has_room_for_any_number_of_validators(many: int) -> None:
    rows = [Row(f"validator-{i}", 1 / many, 1 / many, 0, 2 / many) for i in range(many)]
    width, height, _ = pixels_of(draw(rows, "BLOCKS 1 TO 2").png())
    assert width >= 48 * many
    assert height == 540


# ---------------------------------------------------------------------------------------- the verb


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """The command beside a chain of four validators and some blocks, across an epoch's end."""
    node = WorldNode(World(validators=4))
    node.world.until_epoch_end()
    node.world.blocks(5)
    with patched(node, monkeypatch):
        yield Cli(tmp_path / "home", monkeypatch, capsys)


def test_the_shares_of_a_chain_are_counted_and_drawn(cli: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "shares.png"
    told = cli("por", "plot", "--output", str(picture), "--json").json
    assert sum(view["blocks"] for view in told["validators"]) == told["blocks"] == told["last"]
    assert sum(view["power"] for view in told["validators"]) == pytest.approx(10**9, abs=4)
    assert all(0 <= view["low"] <= view["high"] <= 1 for view in told["validators"])
    assert pixels_of(picture.read_bytes())[1] == 540


def test_only_the_latest_blocks_count(cli: Cli, tmp_path: Path) -> None:
    told = cli("por", "plot", "--output", str(tmp_path / "x.png"), "--blocks", "7", "--json").json
    assert (told["blocks"], told["last"] - told["first"]) == (7, 6)
    said = cli("por", "plot", "--output", str(tmp_path / "x.png"), "--blocks", "7").out
    assert "within the band over 7 blocks" in said


def test_a_picture_that_cannot_be_written_is_named(cli: Cli, tmp_path: Path) -> None:
    told = cli("por", "plot", "--output", str(tmp_path / "missing" / "x.png"), "--json")
    assert told.error["code"] == PICTURE_UNWRITABLE.code


def test_the_list_of_validators_shows_the_share_of_blocks_beside_that_of_power(cli: Cli) -> None:
    told = cli("validator", "list", "--json").json
    assert sum(view["latest_blocks"] for view in told["validators"]) == told["latest_counted"]
    assert "% of blocks" in cli("validator", "list").out
