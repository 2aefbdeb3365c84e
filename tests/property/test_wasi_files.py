"""The files a wasi program sees, against a model: a dictionary of paths.

Whatever a program does, what it holds stays within its limit, the count is exact, the host's store
holds nothing that the program has let go, and the published result is the model.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from spark_node.runtimes.wasi_files import Directory, File, Files, Refusal

DISK_BYTES = 5000
PATHS = st.sampled_from(["a", "ü", "a/a", "a/b", "ü/a", "a/a/a"])
"""Few, so that rules meet each other's files."""


class Model(RuleBasedStateMachine):
    """Files of the output, by path; None is a directory."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        (root / "store").mkdir()
        (root / "published").mkdir()
        self.root = root
        self.files = Files([], root, root / "store", DISK_BYTES)
        self.model: dict[str, bytearray | None] = {}
        self.contents: dict[File, bytearray] = {}

    def parent_exists(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return not parent or (parent in self.model and self.model[parent] is None)

    @rule(target=opened, path=PATHS)
    def create_and_open(self, path):
        try:
            file = self.files.create(*self.files.resolve(self.files.output, path.encode()), directory=False)
        except Refusal:
            assert path in self.model or not self.parent_exists(path)
            return None
        assert path not in self.model
        assert isinstance(file, File)
        self.model[path] = self.contents[file] = bytearray()
        self.files.open(file)
        return file

    @rule(path=PATHS)
    def make_directory(self, path):
        try:
            self.files.create(*self.files.resolve(self.files.output, path.encode()), directory=True)
        except Refusal:
            assert path in self.model or not self.parent_exists(path)
        else:
            self.model[path] = None

    @rule(file=opened, offset=st.integers(0, 6000), data=st.binary(max_size=3000))
    def write(self, file, offset, data):
        if file is None or file.opened == 0:
            return
        try:
            written = self.files.write(file, offset, data)
        except Refusal:
            return
        content = self.contents[file]
        if written:
            content.extend(bytes(max(0, offset + written - len(content))))
            content[offset : offset + written] = data[:written]

    @rule(file=opened, size=st.integers(0, 6000))
    def resize(self, file, size):
        if file is None or file.opened == 0:
            return
        try:
            self.files.resize(file, size)
        except Refusal:
            assert self.files.used + size - len(self.contents[file]) > DISK_BYTES
            return
        content = self.contents[file]
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]

    @rule(file=opened, offset=st.integers(0, 6000), size=st.integers(0, 6000))
    def read(self, file, offset, size):
        if file is not None and file.opened:
            assert self.files.read(file, offset, size) == self.contents[file][offset : offset + size]

    @rule(file=consumes(opened))
    def close(self, file):
        if file is not None and file.opened:
            self.files.close(file)
            if not file.named:
                del self.contents[file]

    @rule(path=PATHS, directory=st.booleans())
    def remove(self, path, directory):
        try:
            self.files.remove(*self.files.resolve(self.files.output, path.encode()), directory)
        except Refusal:
            return
        removed = self.model.pop(path)
        assert (removed is None) == directory
        assert not any(other.startswith(path + "/") for other in self.model)
        if removed is not None:
            self.contents = {f: c for f, c in self.contents.items() if c is not removed or f.opened}

    @rule(path=PATHS)
    def climb_and_return(self, path):
        if self.model.get(path, b"") is not None:
            return
        output = self.files.output
        back = f"{path}/../{path.rpartition('/')[2]}"
        assert self.files.find(output, back.encode()) is self.files.find(output, path.encode())

    @rule(old=PATHS, new=PATHS)
    def rename(self, old, new):
        output = self.files.output
        try:
            self.files.rename(
                *self.files.resolve(output, old.encode()), *self.files.resolve(output, new.encode())
            )
        except Refusal:
            return
        if old == new:
            return
        replaced = self.model.pop(new, None)
        if replaced is not None:
            self.contents = {f: c for f, c in self.contents.items() if c is not replaced or f.opened}
        for path in [path for path in self.model if path == old or path.startswith(old + "/")]:
            self.model[new + path[len(old) :]] = self.model.pop(path)

    @invariant()
    def bytes_are_counted_exactly(self):
        assert self.files.used == sum(len(content) for content in self.contents.values()) <= DISK_BYTES
        assert self.files.names == len(self.model)

    @invariant()
    def the_store_holds_what_is_held(self):
        assert len(os.listdir(self.root / "store")) == len(self.contents)

    def teardown(self):
        published = self.root / "published"
        self.files.publish(published)
        found = {
            path.relative_to(published).as_posix(): None if path.is_dir() else path.read_bytes()
            for path in published.rglob("*")
        }
        assert found == self.model
        for file in self.contents:
            if file.handle >= 0:
                os.close(file.handle)
        self.folder.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(
    st.lists(st.sampled_from(["..", ".", "", "a", "secret", "etc"]), max_size=8).map("/".join),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_path_resolves_outside_its_mount(path, from_below):
    """Every resolved parent has the mount as its ancestor; what climbs is refused."""
    with tempfile.TemporaryDirectory() as folder:
        files = Files([("a", -1), ("a/a", -1)], Path(folder), Path(folder), 0)
        start = files.input.entries["a"] if from_below else files.input
        assert isinstance(start, Directory)
        try:
            place, name = files.resolve(start, path.encode())
        except Refusal:
            return
        assert name != ".."
        while place.parent is not None:
            place = place.parent
        assert place is files.input
