"""A node's configuration and home: whole, commented, and refused with line and caret."""

from __future__ import annotations

import pytest

from consensus.types.errors import Fault
from eubchain.node.config import OPTIONS, Config, default_text, parse_config
from eubchain.node.home import Home


def _refused(text: str, **environment: str) -> dict[str, object]:
    with pytest.raises(Fault) as caught:
        parse_config(text, environment=environment)
    assert caught.value.reason.name == "config_invalid"
    return caught.value.facts


def test_the_written_file_holds_every_option_with_a_comment_and_reads_back():
    text = default_text()
    config = parse_config(text, environment={})
    assert isinstance(config, Config)
    for option in OPTIONS:
        assert f"# {option.comment}\n{option.key} = " in text
        assert config._values[option.section, option.key] == option.default


def test_changes_stand_in_the_file():
    text = default_text({("rpc", "listen"): "127.0.0.1:0", ("rpc", "hosts"): ('a"b', "c")})
    config = parse_config(text, environment={})
    assert config.text("rpc", "listen") == "127.0.0.1:0"
    assert config.texts("rpc", "hosts") == ('a"b', "c")


def test_a_misspelt_key_is_named_with_its_line_a_caret_and_the_nearest():
    facts = _refused("[rpc]\n\nlisen = 'x'\n")
    assert facts["line"] == 3
    assert "the nearest is listen" in str(facts["why"])
    assert str(facts["shown"]).splitlines()[1].index("^") == str(facts["shown"]).splitlines()[0].index(
        "lisen"
    )


def test_an_unknown_section_a_wrong_type_and_broken_toml_are_refused():
    assert "the nearest is mempool" in str(_refused("[mempol]\n")["why"])
    assert "must be a number" in str(_refused("[mempool]\ncount_max = 'many'\n")["why"])
    assert "must be true or false" in str(_refused("[blobs]\nserve = 1\n")["why"])
    assert "must be a number" in str(_refused("[mempool]\ncount_max = -1\n")["why"])
    assert _refused("[rpc\n")["line"] == 1


def test_the_environment_overrides_the_file_and_is_checked_like_it():
    text = "[mempool]\ncount_max = 5\n"
    assert (
        parse_config(text, environment={"EUBCHAIN_MEMPOOL_COUNT_MAX": "7"}).number("mempool", "count_max")
        == 7
    )
    hosts = parse_config("", environment={"EUBCHAIN_RPC_HOSTS": "a,b"}).texts("rpc", "hosts")
    assert hosts == ("a", "b")
    assert "must be a number" in str(_refused(text, EUBCHAIN_MEMPOOL_COUNT_MAX="x")["why"])


def test_a_misspelt_name_in_the_environment_is_refused_like_one_in_the_file():
    with pytest.raises(Fault, match="EUBCHAIN_RPC_LISTEN") as caught:
        parse_config("", environment={"EUBCHAIN_RPC_LISTN": "127.0.0.1:1"})
    assert "nearest" in str(caught.value)
    parse_config("", environment={"EUBCHAIN_VENV": "/opt", "EUBCHAIN_PYTHON": "python3"})


def test_a_home_is_locked_by_one_process_and_made_once(tmp_path):
    home = Home(tmp_path / "home")
    with pytest.raises(Fault) as missing:
        home.check()
    assert missing.value.reason.name == "home_missing"
    home.create()
    home.config.write_text("")
    home.genesis.write_text("{}")
    home.check()
    with pytest.raises(Fault) as there:
        home.create()
    assert there.value.reason.name == "home_exists"
    with home.locked(), pytest.raises(Fault) as held, home.locked():
        pass
    assert held.value.reason.name == "home_in_use"
    with home.locked():
        pass
