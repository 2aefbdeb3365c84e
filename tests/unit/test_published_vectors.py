"""The standards that keys and addresses follow, checked against the vectors their authors publish."""

from __future__ import annotations

import csv
import hashlib
import json
import unicodedata
from pathlib import Path

import pytest
from coincurve import PrivateKey

from consensus.types.address import bech32m_decode, bech32m_encode
from consensus.types.keys import SecretKey, verify
from eubchain.wallet.keystore import Crypto, decrypt, encrypt
from eubchain.wallet.mnemonic import Words, derive, read_words

VECTORS = Path(__file__).parents[1] / "vectors"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def load(name: str) -> dict:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def base58check(text: str) -> bytes:
    """The payload of Base58Check, which only Bitcoin's extended keys use."""
    number = 0
    for character in text:
        number = number * 58 + BASE58.index(character)
    raw = number.to_bytes(82, "big")
    assert hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]
    return raw[:-4]


BIP39 = load("bip39.json")
BIP39_ENGLISH = [v for v in BIP39["vectors"] if v["language"] == "english"]
BIP39_LONGEST = [v for v in BIP39["vectors"] if len(v["entropy"]) == 64]


@pytest.mark.parametrize("vector", BIP39["vectors"], ids=lambda v: f"{v['language']}-{v['entropy'][:12]}")
def test_bip39_entropy_gives_the_words_and_the_words_give_it_back(vector):
    words = Words(bytes.fromhex(vector["entropy"]), vector["language"])
    # Some lists are published composed, some decomposed; the seed is of NFKD, so both are one sentence.
    written = unicodedata.normalize("NFC", vector["words"])
    assert words.sentence() == written
    assert read_words(vector["words"], vector["language"]) == words
    assert read_words(vector["words"]).sentence() == written


@pytest.mark.parametrize(
    "vector", BIP39_ENGLISH + BIP39_LONGEST, ids=lambda v: f"{v['language']}-{v['entropy'][:12]}"
)
def test_bip39_words_give_the_seed_and_the_master_key(vector):
    words = Words(bytes.fromhex(vector["entropy"]), vector["language"])
    seed = words.seed(BIP39["passphrase"])
    assert seed.hex() == vector["seed"]
    master = derive(seed, "m")
    assert base58check(vector["master"])[13:] == master.chain_code + b"\x00" + master.secret


BIP32 = [
    pytest.param(vector["seed"], chain, id=f"vector-{vector['number']}-{chain['path']}")
    for vector in load("bip32.json")["vectors"]
    for chain in vector["chains"]
]


@pytest.mark.parametrize(("seed", "chain"), BIP32)
def test_bip32_derives_the_private_and_public_key_of_every_chain(seed, chain):
    key = derive(bytes.fromhex(seed), chain["path"])
    private, public = base58check(chain["xprv"]), base58check(chain["xpub"])
    assert private[13:] == key.chain_code + b"\x00" + key.secret
    assert public[13:] == key.chain_code + PrivateKey(key.secret).public_key.format()
    assert private[4] == chain["path"].count("/")


def bip340() -> list:
    rows = list(csv.DictReader((VECTORS / "bip340.csv").open(encoding="utf-8")))
    return [pytest.param(row, id=f"{row['index']}-{row['comment'] or 'signs'}") for row in rows]


@pytest.mark.parametrize("row", bip340())
def test_bip340_accepts_and_refuses_as_published(row):
    message = bytes.fromhex(row["message"])
    if len(message) != 32:
        pytest.skip(f"vector {row['index']}: the chain signs hashes of 32 bytes only, not {len(message)}")
    key, signature = bytes.fromhex(row["public key"]), bytes.fromhex(row["signature"])
    assert verify(key, message, signature) is (row["verification result"] == "TRUE")
    if row["secret key"]:
        secret = bytes.fromhex(row["secret key"])
        assert SecretKey(secret).public == key
        assert PrivateKey(secret).sign_schnorr(message, bytes.fromhex(row["aux_rand"])) == signature
        if not int(row["aux_rand"], 16):
            assert SecretKey(secret).sign(message) == signature


BIP350 = load("bip350.json")


@pytest.mark.parametrize("text", BIP350["valid"])
def test_bip350_accepts_valid_strings_and_spells_them_again(text):
    prefix, symbols = bech32m_decode(text)
    assert bech32m_encode(prefix, symbols) == text.lower()


@pytest.mark.parametrize("case", BIP350["invalid"], ids=lambda case: f"{case['text']!r}: {case['why']}")
def test_bip350_refuses_invalid_strings(case):
    with pytest.raises(ValueError, match=r"^its? "):
        bech32m_decode(case["text"])


EIP2335_PASSWORD = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑"
EIP2335_SECRET = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
EIP2335_SALT = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"
EIP2335_IV = "264daa3f303d7259501c93d997d84fe6"
EIP2335_CHECKSUM = "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484"
EIP2335_CIPHER_TEXT = "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f"


def test_eip2335_scrypt_vector_seals_to_the_published_bytes_and_opens():
    """The password is in mathematical letters: NFKD makes plain ones of them."""
    crypto: Crypto = encrypt(
        bytes.fromhex(EIP2335_SECRET),
        EIP2335_PASSWORD,
        work=2**18,
        salt=bytes.fromhex(EIP2335_SALT),
        iv=bytes.fromhex(EIP2335_IV),
    )
    assert crypto.cipher.message == EIP2335_CIPHER_TEXT
    assert crypto.checksum.message == EIP2335_CHECKSUM
    assert decrypt(crypto, "testpassword\x7f🔑") == bytes.fromhex(EIP2335_SECRET)
