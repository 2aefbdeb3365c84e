"""Reading words as people type them, and the keys that follow from them."""

from __future__ import annotations

import pytest

from consensus.types.errors import Fault
from eubchain.wallet.mnemonic import (
    COIN_TYPE,
    HARDENED,
    LANGUAGE_UNKNOWN,
    LANGUAGES,
    PATH_MALFORMED,
    WORD_COUNT_WRONG,
    WORD_UNKNOWN,
    WORDS_DO_NOT_MATCH,
    Words,
    account_path,
    derive,
    generate_words,
    parse_path,
    read_words,
    reveal_path,
    sealing_path,
    validator_path,
)

LEGAL = "legal winner thank year wave sausage worth useful legal winner thank yellow"
LEGAL_ENTROPY = b"\x7f" * 16


def fault_of(text: str, language: str | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        read_words(text, language)
    return caught.value


def test_case_spaces_and_line_breaks_do_not_matter():
    assert read_words(f"  {LEGAL.upper().replace(' ', chr(10))}\t") == Words(LEGAL_ENTROPY, "english")


def test_a_misspelt_word_is_named_with_its_place_and_its_nearest_neighbour():
    fault = fault_of(LEGAL.replace("sausage", "sausge"))
    assert fault.reason is WORD_UNKNOWN
    assert fault.facts == {
        "position": 6,
        "word": "sausge",
        "language": "english",
        "suggestion": "the nearest is 'sausage'",
    }
    assert str(fault) == (
        "3001 word_unknown: Word 6, 'sausge', is not in the english list; the nearest is 'sausage'."
    )


def test_the_first_letters_of_a_word_suggest_the_whole_word():
    assert fault_of(LEGAL.replace("thank", "than")).facts["suggestion"] == "the nearest is 'thank'"


def test_a_word_like_no_other_says_so():
    assert fault_of(LEGAL.replace("wave", "xxxxxxx")).facts["suggestion"] == (
        "no word of that list is near it"
    )


def test_accents_left_out_in_french_are_suggested_composed():
    words = Words(bytes(16), "french").sentence().split()
    assert fault_of(" ".join(["etoile", *words[1:]])).facts["suggestion"] == "the nearest is 'étoile'"


def test_a_missing_word_is_counted():
    fault = fault_of(LEGAL.rsplit(" ", 1)[0])
    assert (fault.reason, fault.facts) == (WORD_COUNT_WRONG, {"count": 11})


def test_two_words_in_the_wrong_order_fail_the_checksum_and_are_not_quoted():
    fault = fault_of(LEGAL.replace("legal winner", "winner legal", 1))
    assert fault.reason is WORDS_DO_NOT_MATCH
    assert "winner" not in str(fault)


def test_an_unknown_language_lists_the_known_ones():
    fault = fault_of(LEGAL, "klingon")
    assert fault.reason is LANGUAGE_UNKNOWN
    assert "chinese_simplified" in str(fault.facts["known"])


def test_chinese_reads_with_and_without_spaces():
    words = generate_words(24, "chinese_simplified")
    spaced = words.sentence()
    assert read_words(spaced.replace(" ", "")).sentence() == spaced
    assert read_words(spaced).key_at(account_path()).public == words.key_at(account_path()).public


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("count", [12, 24])
def test_new_words_read_back_in_every_language(language, count):
    words = generate_words(count, language)
    assert len(words.sentence().split()) == count
    again = read_words(words.sentence())
    assert again.seed() == words.seed()


def test_new_words_differ_each_time():
    assert generate_words(12) != generate_words(12)


def test_no_repr_shows_entropy_or_derived_secrets():
    words = Words(LEGAL_ENTROPY)
    assert repr(words) == "Words(language='english')"
    assert repr(derive(words.seed(), "m")) == "ExtendedKey()"


def test_a_bip44_path_of_bitcoin_gives_the_key_that_other_wallets_give():
    """The key of m/44'/0'/0'/0/0 for 'abandon … about' without passphrase, as bip-utils derives it."""
    words = Words(bytes(16))
    secret = words.secret_at("m/44'/0'/0'/0/0")
    assert secret.hex() == "e284129cc0922579a535bbf4d1a3b25773090d28c909bc0fed73b5e0222cc372"


def test_every_purpose_has_its_own_secret_and_servers_secrets_are_hardened_to_the_end():
    words = Words(LEGAL_ENTROPY)
    paths = [account_path(), account_path(1), account_path(0, 1), validator_path(), validator_path(0, 1)]
    paths += [sealing_path(), sealing_path(0, 1), reveal_path(), reveal_path(1)]
    assert len({words.secret_at(path) for path in paths}) == len(paths)
    for path in paths[3:]:
        assert all(number >= HARDENED for number in parse_path(path))


def test_paths_read_as_child_numbers():
    assert COIN_TYPE.to_bytes(3, "big") == b"EUB"
    assert parse_path("m") == []
    assert parse_path(account_path(7, 9)) == [
        44 + HARDENED, COIN_TYPE + HARDENED, 7 + HARDENED, 0, 9,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["", "44'/0", "m/", "m/-1", "m/2147483648", "m/1h", "m/1''", "m/1/\n", "m/１", "m" + "/0" * 256]
)
def test_a_malformed_path_is_refused(path):
    with pytest.raises(Fault) as caught:
        parse_path(path)
    assert caught.value.reason is PATH_MALFORMED


def test_the_documentation_lists_the_paths_that_are_used(pytestconfig):
    """7 stands for the account and 9 for the index, which the page calls a and i."""
    text = (pytestconfig.rootpath / "docs" / "reference" / "wallet.md").read_text(encoding="utf-8")
    for path in (account_path(7, 9), validator_path(7, 9), sealing_path(7, 9), reveal_path(7)):
        assert f"`{path.replace('7', 'a').replace('9', 'i')}`" in text
