"""What every simulation here runs under: one thread for products of matrices, and no logging left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog

# Few tiles are judged; idle threads spin longer than those take. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A campaign that traces ends with its process; here other tests follow in this one."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
