"""The wallet folder: named accounts, the default one, and the object that signs for one.

Here: `Wallet`, `KeyAccount`, `MultisigAccount`, `AccountSigner`.
Not here: encryption (wallet/keystore.py), words (wallet/mnemonic.py), building transactions and
collecting a multisig's signatures (eubchain/client), spelling an address (consensus/types/address.py).
Keeps: everything but signing and exporting works without a password; no file is ever overwritten.
Errors: 3020 account_name_malformed, 3021 account_unknown, 3022 account_exists, 3023 no_account_chosen,
3024 raw_key_malformed, 3025 account_has_no_words, 3026 account_is_multisig, 3027 multisig_keys_malformed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from consensus.types.address import PREFIXES, key_address, multisig_address
from consensus.types.errors import Fault, Reason
from consensus.types.keys import SECRET_BYTES, SecretKey, is_public_key
from eubchain.wallet.keystore import (
    KEY_FILE_DAMAGED,
    WORK,
    KeyFile,
    RawKey,
    Secret,
    read_keystore,
    seal,
    unseal,
    write_keystore,
)
from eubchain.wallet.mnemonic import Words, generate_words, read_words
from eubchain.wallet.private_file import read_private, write_private

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,31}"
MULTISIG_KEYS_MAX = 16
KEY_SUFFIX = ".json"
MULTISIG_SUFFIX = ".multisig.json"

ACCOUNT_NAME_MALFORMED = Reason(
    3020,
    "account_name_malformed",
    "name:text",
    "'{name}' cannot name an account.",
    "Use 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or digit, and not like an address.",
)
ACCOUNT_UNKNOWN = Reason(
    3021,
    "account_unknown",
    "name:text known:text",
    "There is no account '{name}' in this wallet; {known}.",
    "List them with `eubchain wallet list`, or make one with `eubchain wallet new`.",
)
ACCOUNT_EXISTS = Reason(
    3022,
    "account_exists",
    "name:text",
    "This wallet already has an account '{name}'.",
    "Choose another name with --name.",
)
NO_ACCOUNT_CHOSEN = Reason(
    3023,
    "no_account_chosen",
    "known:text",
    "No account is named and none is the default; {known}.",
    "Name one with --from, or make one with `eubchain wallet new`.",
)
RAW_KEY_MALFORMED = Reason(
    3024,
    "raw_key_malformed",
    "why:text",
    "This is not a secret key: {why}.",
    "A secret key is 64 hexadecimal digits. To import words, leave out --key.",
)
ACCOUNT_HAS_NO_WORDS = Reason(
    3025,
    "account_has_no_words",
    "name:text",
    "The account '{name}' was imported as a raw key, so it has no words.",
    "Export the key itself with `eubchain wallet export --key`.",
)
ACCOUNT_IS_MULTISIG = Reason(
    3026,
    "account_is_multisig",
    "name:text threshold:count keys:count",
    "'{name}' is a multisig of {threshold} of {keys} keys and has no secret of its own.",
    "Sign with `eubchain multisig sign`, naming an account that holds one of its keys.",
)
MULTISIG_MALFORMED = Reason(
    3027,
    "multisig_keys_malformed",
    "why:text",
    "This is not a multisig: {why}.",
    "Give a threshold k and n different keys of 64 hexadecimal digits, 1 <= k <= n <= 16.",
)


@dataclass(frozen=True, slots=True)
class KeyAccount:
    """An account with one key: what its file says without a password."""

    name: str
    file: Path
    keyfile: KeyFile

    @property
    def public(self) -> bytes:
        """The 32-byte x-only key."""
        return self.keyfile.public

    @property
    def address(self) -> bytes:
        """The 20-byte address."""
        return key_address(self.public)


@dataclass(frozen=True, slots=True)
class MultisigAccount:
    """An account of `threshold` of `keys`, which are strictly ascending."""

    name: str
    threshold: int
    keys: tuple[bytes, ...]

    @property
    def address(self) -> bytes:
        """The 20-byte address."""
        return multisig_address(self.threshold, self.keys)


Account = KeyAccount | MultisigAccount


@dataclass(frozen=True, slots=True)
class AccountSigner:
    """An opened account. It signs whatever 32 bytes it is given: the caller has shown them first."""

    address: bytes
    public: bytes
    _key: SecretKey = field(repr=False)

    @classmethod
    def of(cls, key: SecretKey) -> AccountSigner:
        """The signer of a key that is already at hand."""
        return cls(key_address(key.public), key.public, key)

    def sign(self, message: bytes) -> bytes:
        """Sign a 32-byte hash; returns 64 bytes."""
        return self._key.sign(message)


class _MultisigFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["multisig"]
    version: Literal[1]
    threshold: Annotated[int, msgspec.Meta(ge=1, le=MULTISIG_KEYS_MAX)]
    keys: list[str]


class Wallet:
    """The accounts in one folder, `<home>/wallet`. The folder is made with the first account."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Names of all accounts, sorted. Files that are no accounts are passed over."""
        found = self.folder.glob(f"*{KEY_SUFFIX}") if self.folder.is_dir() else []
        names = (path.name.removesuffix(MULTISIG_SUFFIX).removesuffix(KEY_SUFFIX) for path in found)
        return sorted(name for name in names if re.fullmatch(NAME_PATTERN, name))

    def accounts(self) -> list[Account]:
        """Every account, sorted by name; raises `Fault` 3011–3016 for the first unreadable file."""
        return [self.account(name) for name in self.names()]

    def account(self, name: str | None = None) -> Account:
        """The account of this name, or the default one; raises `Fault` 3021, 3023 or 3011–3016."""
        name = self.default() if name is None else name
        if name not in self.names():
            raise Fault(ACCOUNT_UNKNOWN, name=name[:40], known=self._known(near=name))
        multisig = self.folder / (name + MULTISIG_SUFFIX)
        if multisig.exists():
            return _read_multisig(name, multisig)
        file = self.folder / (name + KEY_SUFFIX)
        return KeyAccount(name, file, read_keystore(file))

    def find(self, address: bytes) -> Account | None:
        """The account with this address, if the wallet has it."""
        return next((account for account in self.accounts() if account.address == address), None)

    def holders(self, multisig: MultisigAccount) -> list[KeyAccount]:
        """The accounts of this wallet that hold one of a multisig's keys, in the order of the keys."""
        own = [account for account in self.accounts() if isinstance(account, KeyAccount)]
        return [account for key in multisig.keys for account in own if account.public == key]

    def default(self) -> str:
        """The chosen default, or the only account; raises `Fault` 3023."""
        chosen = self.folder / "default"
        if chosen.exists():
            return read_private(chosen).decode(errors="replace").strip()
        names = self.names()
        if len(names) != 1:
            raise Fault(NO_ACCOUNT_CHOSEN, known=self._known())
        return names[0]

    def set_default(self, name: str) -> None:
        """Choose the account that a command uses when none is named; raises `Fault` 3021."""
        if name not in self.names():
            raise Fault(ACCOUNT_UNKNOWN, name=name[:40], known=self._known(near=name))
        write_private(self.folder / "default", name.encode() + b"\n", replace=True)

    def create(
        self, name: str, password: str, *, count: int = 24, language: str = "english", work: int = WORK
    ) -> tuple[KeyAccount, Words]:
        """Make an account with new words (12 or 24), to be shown once; raises `Fault` 3020, 3022."""
        words = generate_words(count, language)
        return self.add(name, words, password, work=work), words

    def import_words(
        self, name: str, text: str, password: str, *, path: str | None = None, work: int = WORK
    ) -> KeyAccount:
        """Make an account from words that a person typed; raises `Fault` 3001–3004, 3020, 3022."""
        return self.add(name, read_words(text), password, path=path, work=work)

    def import_key(self, name: str, text: str, password: str, *, work: int = WORK) -> KeyAccount:
        """Make an account from a secret key in hexadecimal; raises `Fault` 3020, 3022, 3024."""
        return self.add(name, read_raw_key(text), password, work=work)

    def add(
        self,
        name: str,
        secret: Secret,
        password: str,
        *,
        path: str | None = None,
        description: str = "",
        work: int = WORK,
    ) -> KeyAccount:
        """Encrypt a secret under a free name; raises `Fault` 3020 or 3022."""
        self.check_free(name)
        keyfile = seal(secret, password, path=path, description=description or name, work=work)
        file = self.folder / (name + KEY_SUFFIX)
        write_keystore(file, keyfile)
        return KeyAccount(name, file, keyfile)

    def add_multisig(self, name: str, threshold: int, keys: Sequence[bytes]) -> MultisigAccount:
        """Note a multisig under a free name; keys in any order. Raises `Fault` 3020, 3022, 3027."""
        self.check_free(name)
        account = multisig(name, threshold, keys)
        content = _MultisigFile("multisig", 1, threshold, [key.hex() for key in account.keys])
        text = msgspec.json.format(msgspec.json.encode(content), indent=2)
        write_private(self.folder / (name + MULTISIG_SUFFIX), text + b"\n")
        return account

    def check_free(self, name: str) -> None:
        """Refuse a name that is malformed (`Fault` 3020) or taken (3022), before asking for secrets."""
        # A name that reads like an address could be taken for one where either may stand.
        like_address = any(name.startswith(prefix + "1") for prefix in PREFIXES)
        if not re.fullmatch(NAME_PATTERN, name) or like_address:
            raise Fault(ACCOUNT_NAME_MALFORMED, name=name[:40])
        if name in self.names():
            raise Fault(ACCOUNT_EXISTS, name=name)

    def open(self, name: str | None, password: str) -> Secret:
        """Decrypt an account's secret; raises `Fault` 3015, 3017, 3026 and those of `account`."""
        account = self.key_account(name)
        return unseal(account.keyfile, password, account.file)

    def signer(self, name: str | None, password: str) -> AccountSigner:
        """Open an account for signing; raises as `open` does."""
        account = self.key_account(name)
        secret = unseal(account.keyfile, password, account.file)
        return AccountSigner.of(secret.key_at(account.keyfile.path))

    def export_words(self, name: str | None, password: str) -> str:
        """The words of an account, to be shown to its owner; raises `Fault` 3025 and as `open` does."""
        secret = self.open(name, password)
        if not isinstance(secret, Words):
            raise Fault(ACCOUNT_HAS_NO_WORDS, name=name or self.default())
        return secret.sentence()

    def export_key(self, name: str | None, password: str) -> str:
        """The secret key of an account in hexadecimal; raises as `open` does."""
        account = self.key_account(name)
        secret = unseal(account.keyfile, password, account.file)
        return secret.key_at(account.keyfile.path).secret().hex()

    def key_account(self, name: str | None = None) -> KeyAccount:
        """The account of this name if it has a key of its own; raises `Fault` 3026 for a multisig."""
        account = self.account(name)
        if isinstance(account, MultisigAccount):
            raise Fault(
                ACCOUNT_IS_MULTISIG,
                name=account.name,
                threshold=account.threshold,
                keys=len(account.keys),
            )
        return account

    def _known(self, near: str | None = None) -> str:
        names = self.names()
        if not names:
            return "the wallet is empty"
        close = difflib.get_close_matches(near, names, 1) if near else []
        return f"the nearest is '{close[0]}'" if close else f"it has {', '.join(names[:10])}"


def multisig(name: str, threshold: int, keys: Sequence[bytes]) -> MultisigAccount:
    """Check and order the keys of a multisig; raises `Fault` 3027."""
    ordered = tuple(sorted(keys))
    if not 1 <= len(ordered) <= MULTISIG_KEYS_MAX:
        raise Fault(MULTISIG_MALFORMED, why=f"it has {len(ordered)} keys")
    if not 1 <= threshold <= len(ordered):
        raise Fault(MULTISIG_MALFORMED, why=f"{threshold} of {len(ordered)} keys cannot sign")
    if len(set(ordered)) != len(ordered):
        raise Fault(MULTISIG_MALFORMED, why="a key occurs twice")
    for key in ordered:
        if not is_public_key(key):
            raise Fault(MULTISIG_MALFORMED, why=f"{key.hex()[:64]} is not a public key")
    return MultisigAccount(name, threshold, ordered)


def _read_multisig(name: str, file: Path) -> MultisigAccount:
    try:
        content = msgspec.json.decode(read_private(file), type=_MultisigFile)
        keys = [bytes.fromhex(key) for key in content.keys]
    except (msgspec.DecodeError, ValueError) as error:
        raise Fault(KEY_FILE_DAMAGED, file=str(file), why=str(error).replace("`", "")) from None
    return multisig(name, content.threshold, keys)


def read_raw_key(text: str) -> RawKey:
    """Read 64 hexadecimal digits, 0x before them or not; raises `Fault` 3024, which never quotes them."""
    digits = text.strip().lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]*", digits):
        raise Fault(RAW_KEY_MALFORMED, why="it has a character that is no hexadecimal digit")
    if len(digits) != 2 * SECRET_BYTES:
        raise Fault(RAW_KEY_MALFORMED, why=f"it has {len(digits)} digits instead of 64")
    key = RawKey(bytes.fromhex(digits))
    try:
        SecretKey(key.secret)
    except ValueError:
        raise Fault(RAW_KEY_MALFORMED, why="it is zero or not below the order of the curve") from None
    return key
