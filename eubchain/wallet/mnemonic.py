"""Words to keys: BIP-39 sentences, BIP-32 private derivation and the paths of EUB Chain.

Here: making and reading sentences of words, deriving 32-byte secrets, the list of paths.
Not here: encrypting them (wallet/keystore.py), signing (wallet/accounts.py, consensus/types/keys.py).
Keeps: a sentence is the only thing to back up: account, validator key, sealing key and reveal chain
all follow from it. No repr shows a secret; only a word that is *not* in a list is ever quoted.
Errors: 3001 word_unknown, 3002 word_count_wrong, 3003 words_do_not_match, 3004 path_malformed,
3005 language_unknown.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from functools import cache

from coincurve import PrivateKey
from mnemonic import Mnemonic

from consensus.types.errors import Fault, Reason
from consensus.types.keys import SecretKey

LANGUAGES = (
    "english", "chinese_simplified", "chinese_traditional", "czech", "french", "italian",
    "japanese", "korean", "portuguese", "russian", "spanish", "turkish",
)  # fmt: skip
"""Word lists, the preferred one first where a sentence fits several equally well."""
WORD_COUNTS = (12, 15, 18, 21, 24)
"""Lengths that BIP-39 knows. New sentences have 12 or 24 words; the others are only read."""

COIN_TYPE = 0x455542
"""Coin type of BIP-44: 'EUB' in ASCII, 4543810. It is not registered in SLIP-44."""
HARDENED = 2**31

WORD_UNKNOWN = Reason(
    3001,
    "word_unknown",
    "position:count word:text language:text suggestion:text",
    "Word {position}, '{word}', is not in the {language} list; {suggestion}.",
    "Correct that word and enter the whole sentence again.",
)
WORD_COUNT_WRONG = Reason(
    3002,
    "word_count_wrong",
    "count:count",
    "A sentence has 12, 15, 18, 21 or 24 words; this has {count}.",
    "Compare it with your note word by word: one is missing, doubled or joined to its neighbour.",
)
WORDS_DO_NOT_MATCH = Reason(
    3003,
    "words_do_not_match",
    "language:text",
    "Every word is in the {language} list, but their checksum does not match.",
    "One word is another word of the list, or two stand in the wrong order: compare with your note.",
)
PATH_MALFORMED = Reason(
    3004,
    "path_malformed",
    "path:text",
    "'{path}' is not a derivation path.",
    "Write it as in m/44'/4543810'/0'/0/0: numbers below 2147483648, ' marks a hardened one.",
)
LANGUAGE_UNKNOWN = Reason(
    3005,
    "language_unknown",
    "language:text known:text",
    "There is no word list called '{language}'.",
    "The lists are: {known}.",
)


def account_path(account: int = 0, index: int = 0) -> str:
    """Where an account's signing key lies: BIP-44's external chain."""
    return f"m/44'/{COIN_TYPE}'/{account}'/0/{index}"


def validator_path(account: int = 0, generation: int = 0) -> str:
    """Where a validator's key lies; `generation` counts its renewals.

    This path and the next two are hardened to the end, so a key that leaks from a server gives
    away neither its siblings nor the account that pays it.
    """
    return f"m/44'/{COIN_TYPE}'/{account}'/2'/{generation}'"


def sealing_path(account: int = 0, index: int = 0) -> str:
    """Where the 32-byte secret of an age X25519 identity lies."""
    return f"m/44'/{COIN_TYPE}'/{account}'/3'/{index}'"


def reveal_path(account: int = 0) -> str:
    """Where the secret of a validator's reveal chains lies; the chain adds its own generation."""
    return f"m/44'/{COIN_TYPE}'/{account}'/4'/0'"


@dataclass(frozen=True, slots=True)
class Words:
    """A BIP-39 sentence: its entropy (16 to 32 bytes) and the language in which it is written."""

    entropy: bytes = field(repr=False)
    language: str = "english"

    def sentence(self) -> str:
        """The words as a person writes them down, composed (NFC) so that terminals show them well."""
        return unicodedata.normalize("NFC", word_list(self.language).to_mnemonic(self.entropy))

    def seed(self, passphrase: str = "") -> bytes:
        """The 64-byte seed of BIP-39. The wallet itself uses no passphrase."""
        return Mnemonic.to_seed(self.sentence(), passphrase)

    def secret_at(self, path: str) -> bytes:
        """The 32-byte BIP-32 secret at `path`; raises `Fault` 3004."""
        return derive(self.seed(), path).secret

    def key_at(self, path: str) -> SecretKey:
        """The signing key at `path`; raises `Fault` 3004."""
        return SecretKey(self.secret_at(path))


def generate_words(count: int = 24, language: str = "english") -> Words:
    """Draw a new sentence of 12 or 24 words from the operating system's randomness."""
    assert count in (12, 24), "new sentences have 12 or 24 words"
    word_list(language)
    return Words(secrets.token_bytes(count * 4 // 3), language)


def read_words(text: str, language: str | None = None) -> Words:
    """Read a sentence as a person types it; spaces, case and Unicode form do not matter.

    Chinese may stand without spaces. Without `language`, every list that has all words is tried.
    Raises `Fault` 3001 with the first wrong word and its nearest neighbour, 3002, 3003 or 3005.
    """
    words = _split(text)
    if len(words) not in WORD_COUNTS:
        raise Fault(WORD_COUNT_WRONG, count=len(words))
    candidates = LANGUAGES if language is None else (language,)
    known = {name: sum(word in _positions(name) for word in words) for name in candidates}
    complete = [name for name in candidates if known[name] == len(words)]
    for name in complete:
        entropy = _entropy([_positions(name)[word] for word in words])
        if entropy is not None:
            return Words(entropy, name)
    if complete:
        raise Fault(WORDS_DO_NOT_MATCH, language=complete[0])
    likely = max(candidates, key=lambda name: known[name])
    raise _unknown_word(words, likely)


def _split(text: str) -> list[str]:
    words: list[str] = []
    for word in unicodedata.normalize("NFKD", text).lower().split():
        # Every word of the Chinese lists is one ideograph, and people write them unspaced.
        words.extend(word if re.fullmatch("[\u4e00-\u9fff]+", word) else [word])
    return words


def _unknown_word(words: list[str], language: str) -> Fault:
    positions = _positions(language)
    at, word = next((i, word) for i, word in enumerate(words, start=1) if word not in positions)
    begins = [known for known in positions if known.startswith(word)]
    near = begins if len(begins) == 1 else difflib.get_close_matches(word, positions, 1)
    suggestion = f"the nearest is '{near[0]}'" if near else "no word of that list is near it"
    facts = {"word": word[:40], "language": language, "suggestion": suggestion}
    composed = {name: unicodedata.normalize("NFC", text) for name, text in facts.items()}
    return Fault(WORD_UNKNOWN, position=at, **composed)


def _entropy(indices: list[int]) -> bytes | None:
    """Undo BIP-39's encoding: 11 bits a word, of which one in 33 is checksum; None if it is wrong."""
    bits = 0
    for index in indices:
        bits = bits << 11 | index
    check_bits = len(indices) // 3
    entropy = (bits >> check_bits).to_bytes(check_bits * 4, "big")
    expected = hashlib.sha256(entropy).digest()[0] >> (8 - check_bits)
    return entropy if bits & (2**check_bits - 1) == expected else None


@cache
def word_list(language: str) -> Mnemonic:
    """The word list of a language; raises `Fault` 3005."""
    if language not in LANGUAGES:
        raise Fault(LANGUAGE_UNKNOWN, language=language[:40], known=", ".join(LANGUAGES))
    return Mnemonic(language)


@cache
def _positions(language: str) -> dict[str, int]:
    return {unicodedata.normalize("NFKD", word): i for i, word in enumerate(word_list(language).wordlist)}


@dataclass(frozen=True, slots=True)
class ExtendedKey:
    """A BIP-32 extended private key: 32 bytes of secret, 32 of chain code."""

    secret: bytes = field(repr=False)
    chain_code: bytes = field(repr=False)

    def child(self, index: int) -> ExtendedKey:
        """CKDpriv of BIP-32. An index from 2**31 on is hardened."""
        # A sum of zero or a digest past the group order (chance 2**-127) raises ValueError below:
        # BIP-32 calls that child invalid, and stopping is right.
        parent = PrivateKey(self.secret)
        head = b"\x00" + self.secret if index >= HARDENED else parent.public_key.format()
        digest = hmac.digest(self.chain_code, head + index.to_bytes(4, "big"), "sha512")
        return ExtendedKey(parent.add(digest[:32]).secret, digest[32:])


def derive(seed: bytes, path: str) -> ExtendedKey:
    """Walk from the master key of `seed` (16 to 64 bytes) down `path`; raises `Fault` 3004."""
    digest = hmac.digest(b"Bitcoin seed", seed, "sha512")
    key = ExtendedKey(digest[:32], digest[32:])
    for index in parse_path(path):
        key = key.child(index)
    return key


def parse_path(path: str) -> list[int]:
    """Read m/44'/0 as child numbers, hardened ones with 2**31 added; raises `Fault` 3004."""
    if not re.fullmatch(r"m(/[0-9]{1,10}'?)*", path, re.ASCII):
        raise Fault(PATH_MALFORMED, path=path[:60])
    steps = path.split("/")[1:]
    numbers = [int(step.rstrip("'")) for step in steps]
    if any(number >= HARDENED for number in numbers) or len(steps) > 255:
        raise Fault(PATH_MALFORMED, path=path[:60])
    return [
        number + HARDENED if step.endswith("'") else number
        for number, step in zip(numbers, steps, strict=True)
    ]
