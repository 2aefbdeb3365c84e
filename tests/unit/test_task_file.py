"""The task file: what it teaches, what it refuses and where it points."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.types.errors import Fault
from consensus.types.params import DEV, MAIN
from eubchain.client.task_file import OPTIONS, order_of, read_task_file, task_file_text
from eubchain.client.task_run.order import Order, check_order, check_output, post_of, spec_of, windows_of
from eubchain.client.task_run.quantities import (
    blocks_of,
    parse_duration,
    parse_size,
    show_clock,
    show_size,
)
from vm.task.posting import check as check_post

RECIPIENT = "age1" + "q" * 58


def refused(path: Path, text: str) -> str:
    """The sentence with which a file is refused."""
    path.write_text(text)
    with pytest.raises(Fault) as caught:
        read_task_file(path)
    return str(caught.value)


def test_the_written_file_reads_back_as_the_defaults_and_explains_every_option(tmp_path: Path) -> None:
    file = tmp_path / "task.toml"
    file.write_text(task_file_text())
    values = read_task_file(file)
    assert order_of(values) == order_of({})
    for option in OPTIONS:
        assert f"# {option.comment}\n{option.key} = " in file.read_text()


def test_a_misspelt_key_is_shown_with_line_caret_and_nearest_name(tmp_path: Path) -> None:
    sentence = refused(tmp_path / "task.toml", '[run]\nmodule = "a.wasm"\ncomand = ["x"]\n')
    assert "line 3" in sentence
    assert "the nearest is command" in sentence
    assert sentence.endswith('  comand = ["x"]\n  ^')


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('[price]\nmaximum = "five"', "price.maximum: 'five' is no amount of EUBC"),
        ("[price]\nmaximum = 5", "must be a text in quotes"),
        ('[price]\ntime = "2 hours"', "'2 hours' is not a length of time"),
        ('[machine]\nmemory = "lots"', "'lots' is not a size"),
        ('[machine]\ncpus = "0"', "is no number of cores"),
        ('[run]\nenvironment = ["A"]', "'A' is not NAME=value"),
        ("[market]\nmin_coefficient = 101", "from 0 to 100"),
        ("[run", "this is not TOML"),
    ],
)
def test_a_wrong_value_is_shown_where_it_stands(tmp_path: Path, line: str, why: str) -> None:
    assert why in refused(tmp_path / "task.toml", line + "\n")


def test_a_secret_in_the_environment_is_not_repeated_by_a_refusal(tmp_path: Path) -> None:
    sentence = refused(tmp_path / "task.toml", '[run]\nenvironment = ["to ken=hunter2"]\n')
    assert "'to ken' is not NAME=value" in sentence


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "task.toml"
    file.write_text('[run]\nmodule = "a.wasm"\n[files]\ninput = "data"\n')
    order = order_of(read_task_file(file))
    assert order.module == tmp_path / "a.wasm"
    assert order.input == tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5_400), ("3d", 259_200), ("2h", 7_200)]
)
def test_lengths_of_time_are_read_as_typed(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "0s", "1h 30m", "-1s", "9999d", "1.5h", "２h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(Fault, match="3150"):
        parse_duration(text)


def test_sizes_are_binary_and_shown_as_such() -> None:
    assert [parse_size(t) for t in ("10", "1K", "512M", "4GiB", "2TB")] == [
        10, 2**10, 2**29, 2**32, 2**41,
    ]  # fmt: skip
    assert show_size(2**30 + 2**29) == "1.5 GiB"
    assert show_size(3) == "3 bytes"
    assert show_clock(3_725) == "1:02:05"
    assert show_clock(64) == "1:04"
    assert blocks_of(1, 500) == 2
    assert blocks_of(1, 1_500) == 1
    for text in ("", "4 G", "-1", "1.5G", "99999T"):
        with pytest.raises(Fault, match="3151"):
            parse_size(text)


@pytest.mark.parametrize("params", [DEV, MAIN], ids=["dev", "main"])
def test_every_default_order_is_a_post_that_the_network_takes(params: object) -> None:
    assert params in (DEV, MAIN)
    chosen = DEV if params is DEV else MAIN
    order = Order(maximum=10**8, time_s=60, module=Path("m.wasm"))
    windows = windows_of(order, chosen.market, chosen.chain.block_interval_ms)
    post = post_of(order, spec_of(order, bytes(32), 1, RECIPIENT), windows, [], [])
    check_post(post, chosen)
    assert windows.run * chosen.chain.block_interval_ms > 60_000, "the program's own time fits in"


def test_a_window_that_is_asked_for_outside_the_bounds_is_refused_with_them() -> None:
    order = Order(maximum=10**8, time_s=60, module=Path("m.wasm"), review_s=3_600)
    with pytest.raises(Fault, match="this network takes 1 s to 300 s"):
        windows_of(order, DEV.market, 500)


def test_an_order_is_a_module_or_an_image_and_its_files_are_there(tmp_path: Path) -> None:
    module = tmp_path / "m.wasm"
    module.write_bytes(b"\0asm")
    check_order(Order(maximum=1, time_s=1, module=module))
    for wrong in (
        Order(maximum=1, time_s=1),
        Order(maximum=1, time_s=1, module=module, image="sha256:" + "0" * 64),
        Order(maximum=1, time_s=1, module=tmp_path / "none"),
        Order(maximum=1, time_s=1, module=module, input=tmp_path / "none"),
        Order(maximum=1, time_s=1, module=module, check=tmp_path / "none"),
    ):
        with pytest.raises(Fault, match="3152"):
            check_order(wrong)
    with pytest.raises(Fault, match="never mixed with other files"):
        check_output(Order(maximum=1, time_s=1, module=module, output=tmp_path))
    check_output(Order(maximum=1, time_s=1, module=module, output=tmp_path / "new"))


def test_an_image_that_is_not_pinned_is_refused() -> None:
    order = Order(maximum=10**8, time_s=60, image="python:3.12")
    with pytest.raises(Fault, match="it must be pinned"):
        spec_of(order, None, 0, RECIPIENT)
