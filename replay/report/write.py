"""Writes a report: as text, JSON, CSV or a page, to standard output or to a file that is there whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from replay.report.document import Document, check, clean

Form = Literal["text", "json", "csv", "html"]


def render(made: Document, out: Form) -> str:
    """The report in this form. Raises DocumentError where the document lacks what a writer needs."""
    whole = check(clean(made))
    if out == "json":
        return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if out == "csv":
        from replay.report.table import table

        return table(whole)
    if out == "html":
        from replay.report.page import page

        return page(whole)
    from replay.report.text import text

    return text(whole)


def write(made: Document, out: Form, file: Path | None = None) -> None:
    """Writes the report to `file`, or to stdout. Raises DocumentError and OSError; then no file has changed."""
    text = render(made, out)
    if file is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    put(text, file)


def put(text: str, file: Path) -> None:
    """Writes text to a file that is there whole or not at all. Raises OSError, which names the file."""
    with whole(file) as new:
        new.write_text(text, encoding="utf-8")


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A path beside `file`: what is written there takes its place if the block ends well. Raises OSError likewise."""
    new = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    try:
        with naming(file):
            yield new
            new.replace(file)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


@contextmanager
def naming(file: Path | None) -> Iterator[None]:
    """What the disk says in the block gets the name of a file, where there is one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(file) if file else None) from None
