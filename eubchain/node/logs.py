"""How a node logs: one structured line an event, calm at INFO.

Here: setting structlog up once, after every import (libp2p configures logging while it is imported).
Keeps: a healthy hour at INFO is at most a line a block; no secret is ever handed to a logger.
"""

from __future__ import annotations

import logging
import sys

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_up_logs(level: str, *, as_json: bool) -> None:
    """Log to stderr at `level` and above; as JSON lines or for people."""
    number = LEVELS.get(level, 20)
    logging.basicConfig(stream=sys.stderr, level=max(number, 30), format="%(message)s", force=True)
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
