"""`adaptive report`: a report that was written as JSON, or as a page, in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptive.commands.reporting import File, Out, Thresholds, finish, read_thresholds, ready
from adaptive.failure import Failure


def report(
    source: Annotated[Path, typer.Argument(help="A report: what --out json or --out html wrote.", metavar="REPORT")],
    out: Out = "text",
    file: File = None,
    threshold: Thresholds = None,
) -> None:
    """Write a stored report in another form, and judge more thresholds on it."""
    from replay.report.document import DocumentError, read

    ready(file)
    try:
        made = read(source)
    except DocumentError as error:
        raise Failure(str(error)) from None
    known = dict.fromkeys([r["policy"] for r in made["rows"]] + [gone["policy"] for gone in made["refused"]])
    finish(made, out, file, read_thresholds(threshold, known))
