"""Encrypted key files: the JSON layout of EIP-2335, holding words or one raw key.

Here: `seal`, `unseal`, reading and writing the file. Not here: names of accounts (wallet/accounts.py),
where a password comes from (wallet/passwords.py), durable writing (wallet/private_file.py).
Keeps: the file says which curve and which kind of secret it holds and what public key must come out,
so neither a foreign file nor a damaged one yields a wrong key. A wrong password and a damaged file
are told apart: `integrity` is a digest of everything else in the file, all of it public.
Errors: 3015 key_file_damaged, 3016 key_file_foreign, 3017 password_wrong.

scrypt takes about half a second by design: call `seal` and `unseal` in a thread beside an event loop.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from consensus.types.errors import Fault, Reason
from consensus.types.keys import SECRET_BYTES, SecretKey
from eubchain.wallet.mnemonic import LANGUAGES, Words, account_path
from eubchain.wallet.private_file import read_private, write_private

CURVE: Final = "secp256k1-bip340"
VERSION: Final = 4
"""Version of the EIP-2335 layout."""
WORK = 2**18
"""scrypt's n: 256 MiB and half a second for each guess."""
WORK_MAX = 2**20
"""The largest n that is read: a file cannot ask for more than 1 GiB of memory."""
WORK_FOR_TESTS = 2**4
"""Protects nothing; for tests that would otherwise spend their time in scrypt."""
RAW_KEY_PATH = ""
"""EIP-2335 writes an empty path for a key that was not derived."""

KEY_FILE_DAMAGED = Reason(
    3015,
    "key_file_damaged",
    "file:text why:text",
    "The key file {file} is damaged: {why}.",
    "Restore it from a backup, or make it anew from your words with `eubchain wallet import`.",
)
KEY_FILE_FOREIGN = Reason(
    3016,
    "key_file_foreign",
    "file:text what:text",
    "{file} is not a key file of EUB Chain: it holds {what}.",
    "Import the key itself with `eubchain wallet import`, or name another file.",
)
PASSWORD_WRONG = Reason(
    3017,
    "password_wrong",
    "file:text",
    "The password does not open {file}.",
    "Try again; mind the keyboard layout and Caps Lock. The file itself is intact.",
)

Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z", max_length=256)]


class ScryptParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """RFC 7914's parameters; r and p are fixed, n is the work."""

    dklen: Literal[32]
    n: Annotated[int, msgspec.Meta(ge=2, le=WORK_MAX)]
    p: Literal[1]
    r: Literal[8]
    salt: Hex


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object: the checksum has no parameters."""


class Iv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The initial counter block of the cipher, 16 bytes."""

    iv: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]


class Kdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the password becomes a key."""

    function: Literal["scrypt"]
    params: ScryptParameters
    message: Literal[""]


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """sha256 of the second half of the derived key and the cipher text."""

    function: Literal["sha256"]
    params: Nothing
    message: Hex


class CipherText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The secret under the first half of the derived key."""

    function: Literal["aes-128-ctr"]
    params: Iv
    message: Hex


class Crypto(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The three modules of EIP-2335."""

    kdf: Kdf
    checksum: Checksum
    cipher: CipherText


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key file as it stands on disk; everything in it may be shown."""

    crypto: Crypto
    description: Annotated[str, msgspec.Meta(max_length=200)]
    pubkey: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    path: Annotated[str, msgspec.Meta(max_length=200)]
    uuid: str
    version: Literal[4]
    curve: Literal["secp256k1-bip340"]
    kind: Literal["words", "key"]
    language: str
    """Of the words; empty for a raw key."""
    integrity: str = ""

    @property
    def public(self) -> bytes:
        """The x-only public key, known without the password."""
        return bytes.fromhex(self.pubkey)


class _Head(msgspec.Struct):
    """What tells a file of ours from another program's."""

    version: int | None = None
    curve: str | None = None
    crypto: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class RawKey:
    """One secret key that comes from no words."""

    secret: bytes = field(repr=False)

    def key_at(self, path: str) -> SecretKey:
        """The key itself; there is nothing to derive."""
        assert path == RAW_KEY_PATH, "a raw key has no path"
        return SecretKey(self.secret)


Secret = Words | RawKey


def seal(
    secret: Secret, password: str, *, path: str | None = None, description: str = "", work: int = WORK
) -> KeyFile:
    """Encrypt a secret. `path` (of words only) is where its key lies, the first account if not given."""
    kind: Literal["words", "key"]
    if isinstance(secret, Words):
        plain, kind, language = secret.entropy, "words", secret.language
        path = account_path() if path is None else path
    else:
        plain, kind, language = secret.secret, "key", ""
        path = RAW_KEY_PATH if path is None else path
    crypto = encrypt(plain, password, work=work, salt=secrets.token_bytes(32), iv=secrets.token_bytes(16))
    public = secret.key_at(path).public.hex()
    keyfile = KeyFile(crypto, description, public, path, str(uuid.uuid4()), VERSION, CURVE, kind, language)
    return msgspec.structs.replace(keyfile, integrity=_integrity(keyfile))


def unseal(keyfile: KeyFile, password: str, file: Path | str) -> Secret:
    """Decrypt what `file` holds; raise `Fault` 3017 for a wrong password, 3015 for wrong content."""
    plain = decrypt(keyfile.crypto, password)
    if plain is None:
        raise Fault(PASSWORD_WRONG, file=str(file))
    secret: Secret = Words(plain, keyfile.language) if keyfile.kind == "words" else RawKey(plain)
    if secret.key_at(keyfile.path).public != keyfile.public:
        raise Fault(KEY_FILE_DAMAGED, file=str(file), why="its secret belongs to another public key")
    return secret


def write_keystore(path: Path, keyfile: KeyFile, *, replace: bool = False) -> None:
    """Write the file with mode 0600, durably; raises `Fault` 3012 or 3013."""
    text = msgspec.json.format(msgspec.json.encode(keyfile), indent=2)
    write_private(path, text + b"\n", replace=replace)


def read_keystore(path: Path) -> KeyFile:
    """Read a key file without opening it; raises `Fault` 3010, 3011, 3014, 3015 or 3016."""
    return parse_keystore(read_private(path), path)


def parse_keystore(data: bytes, file: Path | str) -> KeyFile:
    """Check the JSON of a key file; raises `Fault` 3015 (damaged) or 3016 (another program's)."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError:
        raise Fault(KEY_FILE_FOREIGN, file=str(file), what="JSON of another kind") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Fault(KEY_FILE_DAMAGED, file=str(file), why="it is not whole JSON") from None
    if head.crypto is None:
        raise Fault(KEY_FILE_FOREIGN, file=str(file), what="no encrypted key")
    if head.curve != CURVE:
        what = f"a key of the curve {head.curve[:40]}" if head.curve else "a key of an unnamed curve"
        raise Fault(KEY_FILE_FOREIGN, file=str(file), what=what)
    if head.version != VERSION:
        raise Fault(KEY_FILE_FOREIGN, file=str(file), what=f"version {head.version} of the layout")
    try:
        keyfile = msgspec.json.decode(data, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = str(error).replace("`", "")
        raise Fault(KEY_FILE_DAMAGED, file=str(file), why=why) from None
    if keyfile.integrity != _integrity(keyfile):
        raise Fault(KEY_FILE_DAMAGED, file=str(file), why="its content has changed since it was written")
    _check_sizes(keyfile, file)
    return keyfile


def _check_sizes(keyfile: KeyFile, file: Path | str) -> None:
    """A forger can recompute the digest, so what `unseal` relies on is checked by itself."""
    size = len(keyfile.crypto.cipher.message) // 2
    words = keyfile.kind == "words"
    good = (
        size in (16, 20, 24, 28, 32) and keyfile.language in LANGUAGES
        if words
        else size == SECRET_BYTES and keyfile.path == RAW_KEY_PATH
    )  # fmt: skip
    work = keyfile.crypto.kdf.params.n
    if not good or work & (work - 1):
        raise Fault(KEY_FILE_DAMAGED, file=str(file), why="its fields contradict each other")


def encrypt(plain: bytes, password: str, *, work: int, salt: bytes, iv: bytes) -> Crypto:
    """The `crypto` object of EIP-2335 for `plain`; salt of 32 bytes and iv of 16 must be fresh."""
    derived = _derive(password, salt, work)
    message = _aes(derived[:16], iv, plain)
    checksum = hashlib.sha256(derived[16:] + message).hexdigest()
    return Crypto(
        Kdf("scrypt", ScryptParameters(32, work, 1, 8, salt.hex()), ""),
        Checksum("sha256", Nothing(), checksum),
        CipherText("aes-128-ctr", Iv(iv.hex()), message.hex()),
    )


def decrypt(crypto: Crypto, password: str) -> bytes | None:
    """The secret, or None when the checksum shows another password."""
    parameters = crypto.kdf.params
    derived = _derive(password, bytes.fromhex(parameters.salt), parameters.n)
    message = bytes.fromhex(crypto.cipher.message)
    checksum = hashlib.sha256(derived[16:] + message).digest()
    if not hmac.compare_digest(checksum, bytes.fromhex(crypto.checksum.message)):
        return None
    return _aes(derived[:16], bytes.fromhex(crypto.cipher.params.iv), message)


def _derive(password: str, salt: bytes, work: int) -> bytes:
    # EIP-2335: NFKD, then without C0, C1 and Delete, so that every keyboard gives the same bytes.
    normal = unicodedata.normalize("NFKD", password)
    kept = "".join(c for c in normal if ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F)
    return Scrypt(salt=salt, length=32, n=work, r=8, p=1).derive(kept.encode())


def _aes(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode, which is its own inverse."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def _integrity(keyfile: KeyFile) -> str:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(keyfile, integrity=""))).hexdigest()
