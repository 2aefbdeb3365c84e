"""`eubchain wallet`: accounts and their keys.

Here: new, import, list, show, use, export, sign, verify.
Not here: balance, send, history (money.py, on the same group), encryption (eubchain/wallet).
Keeps: no secret is an argument; words and keys are printed only when their owner asks for them.
Errors: 3906 words_not_confirmed.
"""

from __future__ import annotations

import getpass
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.types.address import PREFIXES, format_address, parse_address
from consensus.types.errors import Fault, Reason
from eubchain.cli.session import BAD_ARGUMENT, SESSION
from eubchain.client.connection import NODE_UNREACHABLE

if TYPE_CHECKING:
    from eubchain.wallet.accounts import Account

app = typer.Typer(name="wallet", help="Accounts, EUBC and payments.", no_args_is_help=True)

WORDS_NOT_CONFIRMED = Reason(
    3906,
    "words_not_confirmed",
    "position:count",
    "Word {position} is another one: no account was made.",
    "Run the command again and write all words down in order.",
)
SIGNATURE_HEX = 2 * (32 + 64)
"""A message's signature is its key and the signature proper, in hexadecimal."""

Name = Annotated[str | None, typer.Argument(help="The account; the default one if left out.")]


def known_prefix() -> str:
    """How addresses begin here: as in the home's genesis file, else as the node says, else as on dev."""
    file = SESSION.home / "config" / "genesis.json"
    if SESSION.network_prefix is None and not file.exists():
        try:
            SESSION.network_prefix = SESSION.asked("chain_status")["prefix"]
        except Fault as fault:
            if fault.reason is not NODE_UNREACHABLE:
                raise
            SESSION.note("no node answers: addresses are shown as on a dev network")
    return SESSION.prefix


def facts_of(account: Account) -> dict[str, Any]:
    """What may be shown of an account."""
    from eubchain.wallet.accounts import KeyAccount

    facts: dict[str, Any] = {
        "name": account.name,
        "address": format_address(account.address, known_prefix()),
    }
    if isinstance(account, KeyAccount):
        kind = account.keyfile.kind
        return facts | {
            "kind": kind,
            "public_key": account.public.hex(),
            "path": account.keyfile.path or None,
            "file": str(account.file),
        }
    return facts | {
        "kind": "multisig",
        "threshold": account.threshold,
        "keys": [key.hex() for key in account.keys],
    }


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="A name for the account.")] = "main",
    words: Annotated[int, typer.Option("--words", help="12 or 24.")] = 24,
    language: Annotated[str, typer.Option("--language", help="Of the words, as in english.")] = "english",
) -> None:
    """Make an account: new words, shown once, and a key file that your password encrypts.

    Example: eubchain wallet new savings
    """
    from eubchain.wallet.mnemonic import generate_words

    if words not in (12, 24):
        raise Fault(BAD_ARGUMENT, why="An account has 12 or 24 words.")
    wallet = SESSION.wallet()
    wallet.check_free(name)
    secret = generate_words(words, language)
    password = SESSION.passwords().get(f"A password for {name}: ", repeat=True)
    sentence = secret.sentence()
    if not SESSION.json:
        SESSION.say("These words are the account. Whoever has them has its EUBC; write them down now:\n")
        listed = sentence.split()
        for start in range(0, len(listed), 4):
            row = [f"{start + i + 1:>3}. {word:<12}" for i, word in enumerate(listed[start : start + 4])]
            SESSION.say("  " + "".join(row).rstrip())
        SESSION.say("")
        _confirm_words(listed)
    account = wallet.add(name, secret, password)
    facts = facts_of(account)
    if SESSION.json:
        facts["words"] = sentence
    SESSION.result(facts, f"{name}  {facts['address']}")
    SESSION.follow(f"eubchain wallet balance {name}")


def _confirm_words(listed: list[str]) -> None:
    """Ask for one word, chosen by lot, so that the list was at least read; not where nobody can answer."""
    if SESSION.yes or not SESSION.can_ask:
        return
    position = secrets.randbelow(len(listed))
    print(f"To confirm, type word {position + 1}: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != listed[position]:
        raise Fault(WORDS_NOT_CONFIRMED, position=position + 1)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="A name for the account.")] = "main",
    key: Annotated[bool, typer.Option("--key", help="A secret key in hexadecimal, not words.")] = False,
    path: Annotated[
        str | None, typer.Option("--path", help="Derivation path, as in m/44'/4543810'/0'/0/1.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Read the words or the key from a file.")
    ] = None,
) -> None:
    """Make an account from words or a key, typed, piped or from a file; never from an argument.

    Example: eubchain wallet import old < words.txt
    """
    wallet = SESSION.wallet()
    wallet.check_free(name)
    text = _read_secret("The secret key: " if key else "The words: ", file)
    password = SESSION.passwords().get(f"A password for {name}: ", repeat=True)
    if key:
        account = wallet.import_key(name, text, password)
    else:
        account = wallet.import_words(name, text, password, path=path)
    facts = facts_of(account)
    SESSION.result(facts, f"{name}  {facts['address']}")
    SESSION.follow(f"eubchain wallet balance {name}")


def _read_secret(prompt: str, file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8")
    if SESSION.can_ask:
        return getpass.getpass(prompt)
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise Fault(BAD_ARGUMENT, why="There is nobody to type the secret: pipe it, or give --file.")
    return sys.stdin.read()


@app.command("list")
def list_() -> None:
    """List the accounts of this home.

    Example: eubchain wallet list
    """
    wallet = SESSION.wallet()
    accounts = [facts_of(account) for account in wallet.accounts()]
    chosen = wallet.default() if len(accounts) == 1 or (wallet.folder / "default").exists() else None
    for facts in accounts:
        facts["is_default"] = facts["name"] == chosen
    if SESSION.json or accounts:
        lines = [
            f"{'*' if a['is_default'] else ' '} {a['name']:<16} {a['address']}  {a['kind']}" for a in accounts
        ]
        SESSION.result({"accounts": accounts}, "\n".join(lines))
    if not accounts:
        SESSION.note("there is no account yet")
        SESSION.follow("eubchain wallet new")


@app.command()
def show(name: Name = None) -> None:
    """Show an account's address, key and file; nothing secret.

    Example: eubchain wallet show savings
    """
    SESSION.result(facts_of(SESSION.wallet().account(name)))


@app.command()
def use(name: Annotated[str, typer.Argument(help="The account.")]) -> None:
    """Choose the account that is used when none is named.

    Example: eubchain wallet use savings
    """
    SESSION.wallet().set_default(name)
    SESSION.result({"default": name}, f"{name} is used when no account is named")


@app.command()
def export(
    name: Name = None,
    key: Annotated[bool, typer.Option("--key", help="The secret key instead of the words.")] = False,
) -> None:
    """Print an account's words, or its secret key, after asking for the password.

    Example: eubchain wallet export savings
    """
    wallet = SESSION.wallet()
    account = wallet.key_account(name)
    SESSION.confirm(f"Print the secret of {account.name}? Whoever sees it has the account's EUBC.")
    password = SESSION.passwords().get(f"Password of {account.name}: ")
    if key:
        secret = wallet.export_key(account.name, password)
        SESSION.result({"name": account.name, "secret_key": secret}, secret)
    else:
        secret = wallet.export_words(account.name, password)
        SESSION.result({"name": account.name, "words": secret}, secret)


def message_hash(address: str, message: bytes) -> bytes:
    """What signs a message: never what signs a transaction, and only for this address and network."""
    from consensus.types.hashing import Tag, tagged_hash

    return tagged_hash(Tag.MESSAGE, address.encode(), b"\x00", message)


@app.command()
def sign(
    message: Annotated[str, typer.Argument(help="A text; - reads it from stdin.")],
    name: Annotated[str | None, typer.Option("--from", help="The account.")] = None,
) -> None:
    """Sign a text with an account's key, to show that you hold it. This is no transaction.

    Example: eubchain wallet sign "I am the operator of node 7"
    """
    wallet = SESSION.wallet()
    account = wallet.key_account(name)
    address = format_address(account.address, known_prefix())
    data = sys.stdin.buffer.read() if message == "-" else message.encode()
    signer = wallet.signer(account.name, SESSION.passwords().get(f"Password of {account.name}: "))
    signature = signer.public.hex() + signer.sign(message_hash(address, data)).hex()
    SESSION.result({"address": address, "signature": signature}, signature)
    SESSION.follow(f"eubchain wallet verify {address} MESSAGE SIGNATURE")


@app.command()
def verify(
    address: Annotated[str, typer.Argument(help="Who is said to have signed.")],
    message: Annotated[str, typer.Argument(help="The text; - reads it from stdin.")],
    signature: Annotated[str, typer.Argument(help="As `wallet sign` printed it.")],
) -> None:
    """Check a signature of a text; exit code 1 when it does not hold.

    Example: eubchain wallet verify deub1xc6xqjvm4txn9tvm8eurw6wktyx694ez3w5u4z "I am the operator" SIGNATURE
    """
    from consensus.types.address import key_address
    from consensus.types.keys import verify as holds

    prefix = next((p for p in PREFIXES if address.startswith(p + "1")), known_prefix())
    account = parse_address(address, prefix)
    data = sys.stdin.buffer.read() if message == "-" else message.encode()
    try:
        raw = bytes.fromhex(signature)
    except ValueError:
        raw = b""
    if len(raw) * 2 != SIGNATURE_HEX:
        raise Fault(BAD_ARGUMENT, why=f"A signature has {SIGNATURE_HEX} hexadecimal digits.")
    good = key_address(raw[:32]) == account and holds(raw[:32], message_hash(address, data), raw[32:])
    SESSION.result({"address": address, "valid": good}, "valid" if good else "not valid")
    if not good:
        raise typer.Exit(1)
