"""Logging: what happened, never what was said. No message texts, names, addresses or tokens go into a log line.

Callers pass names of connections, streams and error codes, and counts; messages of systems, which may quote values, stay
in the store's problems.
"""

import logging
import sys

import structlog

from connector.config import Log


def configure(log: Log) -> None:
    """JSON lines or text on stderr. Libraries are heard from warnings on."""
    level = logging.getLevelNamesMapping()[log.level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=renderer,
            foreign_pre_chain=[*shared, _without_arguments],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("connector").setLevel(level)


def _without_arguments(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A library's traceback or stack could quote a record; its message may stand."""
    event.pop("exc_info", None)
    event.pop("stack_info", None)
    return event
