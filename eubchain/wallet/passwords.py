"""Where a password comes from: a prompt, a file or a descriptor; never an argument.

Here: `PasswordSource`, `exposed_password_file`. Not here: what a password opens (wallet/keystore.py).
Keeps: one question per command; nobody to ask is a refusal at once, never a wait; the password
appears in no exception and no repr.
Errors: 3030 password_not_given, 3031 password_empty, 3032 password_not_read, 3033 passwords_differ.
"""

from __future__ import annotations

import getpass
import os
import shlex
import stat
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from consensus.types.errors import Fault, Reason

PASSWORD_BYTES_MAX = 4096
"""A longer file is no password file; reading stops here."""

PASSWORD_NOT_GIVEN = Reason(
    3030,
    "password_not_given",
    "",
    "A password is needed, and there is no terminal to ask for it.",
    "Give --password-file FILE or --password-fd NUMBER, or run the command in a terminal.",
)
PASSWORD_EMPTY = Reason(
    3031,
    "password_empty",
    "origin:text",
    "The password from {origin} is empty.",
    "An empty password protects nothing: give one with at least one character.",
)
PASSWORD_NOT_READ = Reason(
    3032,
    "password_not_read",
    "origin:text why:text",
    "The password could not be read from {origin}: {why}.",
    "Check that it exists, that you may read it, and that it holds one line of UTF-8 text.",
)
PASSWORDS_DIFFER = Reason(
    3033,
    "passwords_differ",
    "",
    "The two passwords differ.",
    "Run the command again and enter the same password twice.",
)


class PasswordSource:
    """One password for one command, read when it is first needed and remembered until the end.

    `file` and `descriptor` are what the command line named, at most one of them; without either, a
    person at a terminal is asked. `stdin` and `ask` stand for the terminal.
    """

    def __init__(
        self,
        file: Path | None = None,
        descriptor: int | None = None,
        *,
        stdin: TextIO | None = None,
        ask: Callable[[str], str] = getpass.getpass,
    ) -> None:
        self._file = file
        self._descriptor = descriptor
        self._stdin = stdin
        self._ask = ask
        self._password: str | None = None

    def get(self, prompt: str = "Password: ", *, repeat: bool = False) -> str:
        """Return the password; with `repeat`, a person enters a new one twice.

        Raises `Fault` 3030 (nobody to ask), 3031 (empty), 3032 (unreadable) or 3033 (two different ones).
        """
        if self._password is None:
            self._password = self._read(prompt, repeat)
        return self._password

    def _read(self, prompt: str, repeat: bool) -> str:
        if self._file is not None and self._descriptor is not None:
            why = "a file and a descriptor are both named"
            raise Fault(PASSWORD_NOT_READ, origin="two places", why=why)
        if self._file is not None:
            return _from_file(self._file)
        if self._descriptor is not None:
            return _from_descriptor(self._descriptor)
        return self._from_person(prompt, repeat)

    def _from_person(self, prompt: str, repeat: bool) -> str:
        stdin = sys.stdin if self._stdin is None else self._stdin
        # getpass would fall back to a controlling terminal or echo; a script must fail instead.
        if stdin is None or stdin.closed or not stdin.isatty():
            raise Fault(PASSWORD_NOT_GIVEN)
        try:
            password = self._ask(prompt)
            again = self._ask("The same again: ") if repeat and password else password
        except EOFError:
            raise Fault(PASSWORD_NOT_GIVEN) from None
        if password != again:
            raise Fault(PASSWORDS_DIFFER)
        return _checked(password, "the terminal")


def exposed_password_file(file: Path) -> str | None:
    """A sentence of warning when other users can read a password file, else None.

    Only a warning: container platforms mount secrets with modes that nobody can change.
    """
    try:
        status = file.stat()
    except OSError:
        return None  # reading it says what is wrong
    if not stat.S_ISREG(status.st_mode) or not stat.S_IMODE(status.st_mode) & 0o077:
        return None
    return f"Other users of this machine can read {file}. Close it with: chmod 600 {shlex.quote(str(file))}"


def _from_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        raise Fault(PASSWORD_NOT_READ, origin=str(file), why=_why(error)) from None
    return _decoded(data, str(file))


def _from_descriptor(descriptor: int) -> str:
    origin = f"descriptor {descriptor}"
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            data = opened.read(PASSWORD_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a negative number
        raise Fault(PASSWORD_NOT_READ, origin=origin, why=_why(error)) from None
    return _decoded(data, origin)


def _decoded(data: bytes, origin: str) -> str:
    if len(data) > PASSWORD_BYTES_MAX:
        raise Fault(PASSWORD_NOT_READ, origin=origin, why=f"it has more than {PASSWORD_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(PASSWORD_NOT_READ, origin=origin, why="it is not UTF-8 text") from None
    # One newline only, the one that editors and echo add: the rest belongs to the password.
    return _checked(text.removesuffix("\n").removesuffix("\r"), origin)


def _checked(password: str, origin: str) -> str:
    # Control characters take no part in the key (EIP-2335), so of them alone no password can consist.
    if all(unicodedata.category(c) == "Cc" for c in password):
        raise Fault(PASSWORD_EMPTY, origin=origin)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in password):  # bytes of another encoding, typed at a prompt
        raise Fault(PASSWORD_NOT_READ, origin=origin, why="it is not UTF-8 text")
    return password


def _why(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
