"""The house rules as tests: whoever breaks one is told what to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("consensus", "vm", "p2p", "genesis", "spark_node", "eubchain")
PURE = ("consensus", "vm")
FILE_LINES_MAX = 420
FUNCTION_LINES_MAX = 70
BANNED_FILE_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "misc", "common"}
BANNED_IN_PURE = {
    "time.time": "the block's time_ms",
    "random": "a draw from the beacon (consensus/types/draws.py)",
    "datetime": "heights and the block's time_ms",
    "os.urandom": "a draw from the beacon (consensus/types/draws.py)",
}
BANNED_EVERYWHERE = {
    "asyncio": "trio: the node has one event loop",
    "pickle": "consensus.types.codec: unpickling runs code",
    "open_memory_channel(math.inf)": "a bound, with a sentence saying what a full channel does",
    "open_memory_channel(inf)": "a bound, with a sentence saying what a full channel does",
}


def sources(*packages: str) -> list[Path]:
    """Every Python file of these packages."""
    return sorted(p for package in packages for p in (ROOT / package).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in a module."""
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_lives_in_it_and_stays_small(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with a docstring: what lives here, what does not"
    assert path.stem not in BANNED_FILE_NAMES, "name the file by a noun that says what it holds"
    assert len(text.splitlines()) <= FILE_LINES_MAX, "a file is one room: split it"
    for function in functions(tree):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= FUNCTION_LINES_MAX, f"{function.name} is {length} lines: one thought each"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_and_classes_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            assert node.name.startswith("_") or ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", sources(*PURE), ids=lambda p: str(p.relative_to(ROOT)))
def test_decisions_read_no_clock_and_draw_no_randomness(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            assert name not in BANNED_IN_PURE, f"{name}: use {BANNED_IN_PURE[name]}"
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            raise AssertionError(f"line {node.lineno}: consensus arithmetic is integer arithmetic")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            raise AssertionError(f"line {node.lineno}: divide with // and say which way it rounds")
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Set | ast.SetComp):
            raise AssertionError(f"line {node.lineno}: iterate over something with an order")


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=lambda p: str(p.relative_to(ROOT)))
def test_banned_words_name_their_replacement(path: Path) -> None:
    text = path.read_text("utf-8")
    for word, instead in BANNED_EVERYWHERE.items():
        pattern = rf"^\s*(import|from) {word}\b" if word.isidentifier() else re.escape(word)
        assert not re.search(pattern, text, re.MULTILINE), f"{word}: use {instead}"
    for number, line in enumerate(text.splitlines(), 1):
        assert "TODO" not in line, f"line {number}: do it, or write an issue"
        if "type: ignore" in line:
            assert re.search(r"type: ignore\[[\w, -]+\]  # \w", line), f"line {number}: say why it is ignored"


@pytest.mark.parametrize("path", sources("tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_wait_for_conditions_never_for_time(path: Path) -> None:
    if path == Path(__file__):
        return
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if re.search(r"\btime\.sleep\(", line):
            assert "# poll" in line, f"line {number}: wait for a condition (mark a polling loop with # poll)"


def test_every_reason_has_a_sentence_a_hint_and_a_code_in_a_documented_range() -> None:
    import eubchain.cli.main  # noqa: F401  # imports every interface and so registers every reason
    from consensus.types.errors import Reason

    for code, reason in Reason.registry.items():
        assert reason.sentence.rstrip().endswith((".", "?", "}")), f"{reason.name}: end the sentence"
        assert reason.hint, f"{reason.name}: say what the person can do next"
        assert 1000 <= code < 4000, f"{reason.name}: {code} is in no documented range"
