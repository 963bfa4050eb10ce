"""What the commands that report have in common: their options, thresholds, and how they end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adaptive.failure import Failure

if TYPE_CHECKING:
    from replay.report.document import Document
    from replay.report.thresholds import Threshold

BROKEN = 99  # the exit code of a broken threshold, as k6 has it

Out = Annotated[Literal["text", "json", "csv", "html"], typer.Option(help="Form of the report.")]
File = Annotated[Path | None, typer.Option("--file", "-o", help="Write the report here.", metavar="FILE")]
Thresholds = Annotated[
    list[str] | None, typer.Option(help="A promise, such as 'p99<200ms' or 'adaptive:failed<0.1%'; broken: exit 99.")
]


def command() -> str:
    """The command line that makes the report again."""
    return "adaptive " + shlex.join(sys.argv[1:])


def read_thresholds(texts: Iterable[str] | None, policies: Iterable[str]) -> list[Threshold]:
    """Before the work is done, so that a misspelt promise costs nothing: wrong usage, exit code 2."""
    from replay.report.thresholds import ThresholdError, parse

    known = list(policies)
    try:
        return [parse(text, known) for text in texts or ()]
    except ThresholdError as error:
        raise typer.BadParameter(str(error), param_hint="--threshold") from None


def ready(file: Path | None) -> None:
    """Before the work is done: whether a file can be written where it is wanted. Raises Failure."""
    if file is None:
        return
    if file.is_dir():
        raise Failure(f"{file}: is a directory; name a file")
    if file.exists() and not file.is_file():
        raise Failure(f"{file}: is a device or a pipe; name a file, which is there whole or not at all")
    if not file.absolute().parent.is_dir():
        raise Failure(f"{file}: there is no directory {file.parent}")
    if not os.access(file.absolute().parent, os.W_OK | os.X_OK):
        raise Failure(f"{file}: the directory {file.parent} cannot be written to")


def finish(
    made: Document, out: Literal["text", "json", "csv", "html"], file: Path | None, thresholds: list[Threshold]
) -> None:
    """Judges the thresholds and writes the report. Raises typer.Exit(99) where one is broken."""
    from replay.report.thresholds import judge
    from replay.report.write import write

    judged = judge(thresholds, made)
    made["thresholds"] = [*made["thresholds"], *judged]
    write(made, out, file)
    if file is not None:
        typer.echo(f"the report is in {file}", err=True)
    broken = [one for one in judged if not one["ok"]]
    if broken:
        typer.echo(f"broken: {', '.join(dict.fromkeys(one['text'] for one in broken))}", err=True)
        raise typer.Exit(BROKEN)
