"""The log on stderr: one JSON object a line, or a readable line where a person looks on."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from adaptive.gateway.boot import Logging

# What every LogRecord has; anything else came in by `extra=` and is a field of its own.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, process, logger, message, and what `extra` held."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((k, v) for k, v in vars(record).items() if k not in STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """A line for a person: local time, level, process, message."""

    def __init__(self, process: str, colour: bool) -> None:
        super().__init__()
        self.process = process
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and a traceback where there is one."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        level = f"{record.levelname.lower():7}"
        if self.colour and record.levelname in COLOURS:
            level = f"{COLOURS[record.levelname]}{level}\x1b[0m"
        line = f"{moment} {level} {self.process:10} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes a whole line at once, so that lines of several processes on one stderr do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a log that cannot be written is lost, never the process."""
        try:
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            pass
        except Exception:
            self.handleError(record)


def chosen(level: str, style: str, stream: TextIO | None = None) -> Logging:
    """The log that was asked for; style "auto" is text on a terminal and JSON elsewhere."""
    if style == "auto":
        style = "text" if (stream or sys.stderr).isatty() else "json"
    return Logging(level=level.upper(), format=style)


def install(settings: Logging, process: str, stream: TextIO | None = None) -> None:
    """Make this process write its log to stderr; `process` names it in every line."""
    stream = stream or sys.stderr
    handler = LineHandler(stream)
    if settings.format == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        handler.setFormatter(TextFormatter(process, colour=stream.isatty() and "NO_COLOR" not in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    logging.raiseExceptions = False
    for noisy in ("asyncio", "aiohttp.access", "watchfiles"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
