"""One thread for a product of matrices: few tiles are judged; idle threads spin longer than those take."""

from __future__ import annotations

import os

# Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
