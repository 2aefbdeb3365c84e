"""Passwords come from a prompt, a file or a descriptor, once per command, and nothing waits for ever."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from consensus.types.errors import Fault
from eubchain.wallet.passwords import (
    PASSWORD_EMPTY,
    PASSWORD_NOT_GIVEN,
    PASSWORD_NOT_READ,
    PASSWORDS_DIFFER,
    PasswordSource,
    exposed_password_file,
)


class Terminal(io.StringIO):
    """A terminal with a person at it, who answers in turn and counts the questions."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self.answers = list(answers)
        self.prompts: list[str] = []

    def isatty(self) -> bool:
        return True

    def ask(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


def at(terminal: Terminal) -> PasswordSource:
    return PasswordSource(stdin=terminal, ask=terminal.ask)


def reason_of(source: PasswordSource, **options):
    with pytest.raises(Fault) as caught:
        source.get(**options)
    return caught.value.reason


def test_a_person_is_asked_once_per_command():
    terminal = Terminal("secret")
    source = at(terminal)
    assert [source.get("For main: "), source.get("For main: ")] == ["secret", "secret"]
    assert terminal.prompts == ["For main: "]


def test_a_new_password_is_entered_twice():
    terminal = Terminal("secret", "secret")
    assert at(terminal).get(repeat=True) == "secret"
    assert len(terminal.prompts) == 2
    assert reason_of(at(Terminal("secret", "sceret")), repeat=True) is PASSWORDS_DIFFER


def test_an_empty_answer_is_refused_without_a_second_question():
    terminal = Terminal("")
    assert reason_of(at(terminal), repeat=True) is PASSWORD_EMPTY
    assert len(terminal.prompts) == 1


def test_the_end_of_input_at_the_prompt_is_a_refusal():
    assert reason_of(at(Terminal())) is PASSWORD_NOT_GIVEN


def test_nobody_to_ask_is_a_refusal_at_once():
    """A pipe, and a closed standard input: the question is never put."""

    def never(_: str) -> str:
        raise AssertionError("nobody is there to be asked")

    closed = io.StringIO("secret\n")
    closed.close()
    for stdin in (io.StringIO("secret\n"), closed):
        assert reason_of(PasswordSource(stdin=stdin, ask=never)) is PASSWORD_NOT_GIVEN


ASKING = """
import sys
sys.path.insert(0, sys.argv[1])
from consensus.types.errors import Fault
from eubchain.wallet.passwords import PasswordSource
try:
    PasswordSource().get()
except Fault as fault:
    print(fault.reason.name)
"""


@pytest.mark.parametrize("redirection", ["< /dev/null", "<&-", "< /etc/hostname"])
def test_a_real_process_without_a_terminal_ends_with_the_refusal(redirection, pytestconfig):
    """As a person runs it: input from nowhere, closed, or from a file that was not meant."""
    command = ["sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, "-c", ASKING]
    ended = subprocess.run(
        [*command, str(pytestconfig.rootpath)], stdout=subprocess.PIPE, timeout=60, check=True, text=True
    )
    assert ended.stdout.strip() == "password_not_given"


def test_a_program_started_without_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert reason_of(PasswordSource()) is PASSWORD_NOT_GIVEN


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" se cret \n", " se cret "),
        ("密码\n".encode(), "密码"),
    ],
)
def test_a_file_gives_its_text_without_one_trailing_newline(tmp_path, content, password):
    (tmp_path / "password").write_bytes(content)
    assert PasswordSource(file=tmp_path / "password").get() == password


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\t\n", b"\x00"])
def test_an_empty_file_is_refused(tmp_path, content):
    (tmp_path / "password").write_bytes(content)
    assert reason_of(PasswordSource(file=tmp_path / "password")) is PASSWORD_EMPTY


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 5000])
def test_a_file_that_is_no_password_is_refused_without_showing_it(tmp_path, content):
    (tmp_path / "password").write_bytes(content)
    with pytest.raises(Fault) as caught:
        PasswordSource(file=tmp_path / "password").get()
    assert caught.value.reason is PASSWORD_NOT_READ
    assert "xxx" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Fault) as caught:
        PasswordSource(file=tmp_path / "none").get()
    assert caught.value.reason is PASSWORD_NOT_READ
    assert str(tmp_path / "none") in str(caught.value)
    assert "no such file" in str(caught.value)


def test_a_file_is_read_once(tmp_path):
    (tmp_path / "password").write_text("secret")
    source = PasswordSource(file=tmp_path / "password")
    assert source.get() == "secret"
    (tmp_path / "password").unlink()
    assert source.get() == "secret"


def test_a_descriptor_gives_the_password_and_stays_open():
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    try:
        assert PasswordSource(descriptor=reading).get() == "secret"
        os.fstat(reading)
    finally:
        os.close(reading)


@pytest.mark.parametrize("descriptor", [-1, 10**6])
def test_a_descriptor_that_is_not_open_is_refused(descriptor):
    assert reason_of(PasswordSource(descriptor=descriptor)) is PASSWORD_NOT_READ


def test_a_file_and_a_descriptor_together_are_refused(tmp_path):
    assert reason_of(PasswordSource(file=tmp_path / "p", descriptor=0)) is PASSWORD_NOT_READ


def test_a_password_that_is_not_text_is_refused_at_the_prompt():
    assert reason_of(at(Terminal("p\udcff"))) is PASSWORD_NOT_READ


def test_a_readable_password_file_earns_a_warning_with_the_line_that_mends_it(tmp_path):
    file = tmp_path / "my password"
    file.write_text("secret")
    file.chmod(0o644)
    warning = exposed_password_file(file)
    assert warning is not None
    assert warning.endswith(f"chmod 600 '{file}'")
    file.chmod(0o600)
    assert exposed_password_file(file) is None
    assert exposed_password_file(tmp_path / "none") is None


def test_no_repr_shows_the_password(tmp_path):
    source = at(Terminal("secret"))
    source.get()
    assert "secret" not in repr(source)
