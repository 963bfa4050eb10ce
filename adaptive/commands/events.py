"""`adaptive events`: logs of what a brain was told and commanded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptive.failure import Failure

app = typer.Typer(help="Logs of what a brain was told, and of what it commanded.", no_args_is_help=True)


@app.callback()
def events() -> None:
    """Logs of what a brain was told, and of what it commanded."""


@app.command()
def replay(
    log: Annotated[list[Path], typer.Argument(help="Event logs, or directories of them.", metavar="LOG...")],
) -> None:
    """Tell a fresh Controller what a log holds; exit 1 where other commands follow than were logged, with the first."""
    from adaptive.telemetry.events import SUFFIX, EventLogError, read
    from replay import parity

    files = [file for path in log for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not files:
        raise Failure(f"{', '.join(map(str, log))}: no event logs (*{SUFFIX})")
    same = True
    for file in files:
        try:
            with file.open("rb") as source:
                found = parity.replay(read(file, source))
        except EventLogError as error:
            raise Failure(str(error)) from None
        verdict = "identical" if found.difference is None else f"they differ: {found.difference}"
        typer.echo(f"{file}: {found.events} events in {found.seconds:.1f} s, {found.commands} commands: {verdict}")
        if found.partial:
            typer.echo(f"{file}: partial: {found.partial}", err=True)
        same &= found.difference is None
    if not same:
        raise typer.Exit(1)
