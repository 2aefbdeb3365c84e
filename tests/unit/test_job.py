"""Spec, job, answer: what is public, what is sealed, what commits to what."""

from __future__ import annotations

import msgspec
import pytest

from consensus.types.codec import encode
from consensus.types.errors import Fault, Rejected
from spark_node.job import (
    JOB,
    SPEC,
    SPEC_BYTES_MAX,
    Command,
    Input,
    Job,
    Limits,
    Spec,
    Variable,
    answer_digest,
    check_spec,
    command_of,
    job_digest,
    seal,
    spec_digest,
)

SALT = bytes(range(16))
SPEC_EXAMPLE = Spec(
    "docker", f"registry.example/a/b@sha256:{'a' * 64}", "/root/code", "/root/result", 1500, 2**30, 2**30, 1,
    2**20, 2**20, "age1" + "q" * 58, (2222, 29500),
)  # fmt: skip
JOB_EXAMPLE = Job(
    (Command("worker", ("python", "train.py")), Command("ps", ())),
    (Variable("TOKEN", "hunter2"),),
    (Input("blob:1", bytes(32), 1000),),
    "AGE-SECRET-KEY-1" + "Q" * 58,
    Limits(3600, 10**12, 2**20),
    "",
    SALT,
)


def test_spec_and_job_come_back_as_they_were():
    """The wire form is the record."""
    assert SPEC.decode(encode(SPEC_EXAMPLE)) == SPEC_EXAMPLE
    assert JOB.decode(encode(JOB_EXAMPLE)) == JOB_EXAMPLE


def test_a_spec_too_large_for_a_transaction_is_refused():
    """It lies in every node's history."""
    with pytest.raises(Rejected, match="oversized"):
        SPEC.decode(bytes(SPEC_BYTES_MAX + 1))


def test_secrets_of_a_job_are_not_in_its_repr():
    """Nor in that of anything that holds it."""
    for shown in (repr(JOB_EXAMPLE), str(JOB_EXAMPLE), repr([JOB_EXAMPLE]), f"{JOB_EXAMPLE}"):
        assert "hunter2" not in shown
        assert "SECRET" not in shown
        assert SALT.hex() not in shown
    assert "worker" in repr(JOB_EXAMPLE)


def test_every_field_of_a_job_is_committed_to():
    """A judge shown another job knows."""
    others = [
        msgspec.structs.replace(JOB_EXAMPLE, **change)
        for change in (
            {"commands": JOB_EXAMPLE.commands[:1]},
            {"environment": ()},
            {"inputs": ()},
            {"input_identity": ""},
            {"limits": Limits(3601, 10**12, 2**20)},
            {"log_place": "x"},
            {"salt": bytes(16)},
        )
    ]
    assert len({job_digest(job) for job in [JOB_EXAMPLE, *others]}) == len(others) + 1
    assert spec_digest(SPEC_EXAMPLE) != job_digest(JOB_EXAMPLE)


def test_a_role_has_its_command():
    """And a role that the job forgot has a name in the fault."""
    assert command_of(JOB_EXAMPLE, "ps") == ()
    assert command_of(JOB_EXAMPLE, "worker") == ("python", "train.py")
    with pytest.raises(Fault, match="'scheduler'"):
        command_of(JOB_EXAMPLE, "scheduler")


def test_an_answer_is_of_contents_not_of_order():
    """Two sparks that list a directory differently agree."""
    pairs = [("b/x", b"1" * 32), ("a", b"2" * 32), ("b", b"3" * 32)]
    answer = answer_digest(SALT, 0, pairs)
    assert answer == answer_digest(SALT, 0, reversed(pairs))


def test_an_answer_changes_with_whatever_was_done():
    """Status, names, contents, salt."""
    pair = ("a", b"1" * 32)
    answers = {
        answer_digest(SALT, 0, [pair]),
        answer_digest(SALT, 1, [pair]),
        answer_digest(bytes(16), 0, [pair]),
        answer_digest(SALT, 0, [("b", b"1" * 32)]),
        answer_digest(SALT, 0, [("a", b"2" * 32)]),
        answer_digest(SALT, 0, []),
    }
    assert len(answers) == 6


def test_the_answer_and_the_seal_are_what_the_protocol_says():
    """Pinned: BLAKE2b-256 with the tags EUB-out and EUB-seal over the parts, spelled out by hand."""
    from hashlib import blake2b

    packed = b"\x91\x92\xa1a\xc4\x20" + b"1" * 32
    expected = blake2b(SALT + bytes(7) + b"\x03" + packed, digest_size=32, person=b"EUB-out").digest()
    assert answer_digest(SALT, 3, [("a", b"1" * 32)]) == expected
    spark = b"s" * 20
    sealed = blake2b(expected + spark + SALT, digest_size=32, person=b"EUB-seal").digest()
    assert seal(expected, spark, SALT) == sealed


def test_a_good_spec_passes():
    """By digest in a registry, and as an image id."""
    check_spec(SPEC_EXAMPLE)
    check_spec(msgspec.structs.replace(SPEC_EXAMPLE, image=f"sha256:{'0' * 64}"))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("image", {"image": "python:3.11"}),
        ("image", {"image": f"python@sha256:{'A' * 64}"}),
        ("image", {"runtime": "wasi", "gpus": 0}),
        ("input_mount", {"input_mount": "input"}),
        ("input_mount", {"input_mount": "/a/../etc"}),
        ("input_mount", {"input_mount": "/in put"}),
        ("input_mount", {"input_mount": "/proc/1"}),
        ("output_mount", {"output_mount": "/tmp"}),
        ("output_mount", {"output_mount": "/root/code/result"}),
        ("output_mount", {"input_mount": "/a/b", "output_mount": "/a"}),
        ("memory_bytes", {"memory_bytes": 1000}),
        ("output_bytes_max", {"disk_bytes": 10, "output_bytes_max": 11}),
        ("gpus", {"runtime": "wasi", "image": f"sha256:{'0' * 64}"}),
        ("recipient", {"recipient": "age1" + "b" * 58}),
        ("recipient", {"recipient": "AGE-SECRET-KEY-1" + "Q" * 48}),
        ("ports", {"ports": (2, 1)}),
        ("ports", {"ports": (1, 1)}),
    ],
)
def test_a_spec_that_no_machine_could_run_is_refused_by_field(field, changes):
    """The fault names what to correct."""
    with pytest.raises(Fault) as caught:
        check_spec(msgspec.structs.replace(SPEC_EXAMPLE, **changes))
    assert caught.value.facts["field"] == field
