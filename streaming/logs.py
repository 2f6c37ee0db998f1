"""The service's log: events with fields, through Python's own logging, never with a session's text or audio."""

import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.stdlib import (
    BoundLogger,
    ExtraAdder,
    ProcessorFormatter,
    filter_by_level,
    render_to_log_kwargs,
)

_LOGGERS = ("voicewire", "uvicorn")


def get_logger(name: str) -> BoundLogger:
    """A logger whose fields travel as `extra`: a program that embeds the server logs as it always did."""
    wrapped = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[filter_by_level, render_to_log_kwargs],
        wrapper_class=BoundLogger,
    )
    return cast(BoundLogger, wrapped)


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Writes the server's log to `stream` (standard error): for people on a terminal, else as JSON lines."""
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        ExtraAdder(),
    ]
    if stream.isatty():
        last: list[structlog.typing.Processor] = [structlog.dev.ConsoleRenderer()]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, *last], foreign_pre_chain=shared
        )
    )
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        # uvicorn's own news are of connections, which the sessions' events say better.
        logger.setLevel(level if name == "voicewire" else max(level, logging.WARNING))
