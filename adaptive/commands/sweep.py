"""`adaptive sweep`: policies × scenarios × fleets × loads × seeds, on all cores or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from adaptive import clock
from adaptive.commands import arguments
from adaptive.commands.arguments import LONGEST, SLOWEST
from adaptive.commands.progress import Progress
from adaptive.commands.reporting import ready
from adaptive.failure import Failure

if TYPE_CHECKING:
    from replay.sweep.cells import Cell

# Of the regret table, where nothing else is asked for.
FLEETS, LOADS, SEEDS = "5,8,16,100", "0.7,0.9", "20"


def sweep(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Names or files; none: S1 to S17.")] = None,
    policy: Annotated[str, typer.Option("--policy", help="Policies; none: all.", metavar="A,B,...")] = "",
    fleets: Annotated[str, typer.Option(help=f"Instances [8; --regret: {FLEETS}].", metavar="N,N,...")] = "",
    loads: Annotated[str, typer.Option(help=f"Shares of capacity [0.7; --regret: {LOADS}].", metavar="X,X,...")] = "",
    seeds: Annotated[str, typer.Option(help=f"So many, or a range [1; --regret: {SEEDS}].", metavar="N|A:B")] = "",
    held_out: Annotated[bool, typer.Option(help="Severities and seeds that tuning has not seen.")] = False,
    seconds: Annotated[float, typer.Option(min=1.0, max=LONGEST, help="Length of a standard scenario.")] = 60.0,
    mean: Annotated[float, typer.Option(min=0.0001, max=SLOWEST, help="Its mean service time, seconds.")] = 0.04,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core, or all of a cluster.")] = -1,
    backend: Annotated[Literal["loky", "dask", "ray"], typer.Option(help="loky: this machine's cores.")] = "loky",
    address: Annotated[str, typer.Option(help="The cluster's scheduler; none: a cluster here.")] = "",
    out: Annotated[Literal["csv", "json"], typer.Option(help="Form on stdout; json: a line each.")] = "csv",
    file: Annotated[Path | None, typer.Option("--file", "-o", help="Write rows here as they come, as CSV.")] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with what --file has not got, if a row of each policy comes out as it was.")
    ] = False,
    kept: Annotated[
        Path | None,
        typer.Option(help="What regrets need of every row (.csv.xz): cells it has are not run, new ones join it."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.0, help="Stop after so long, to be resumed; 0: never.")] = 0.0,
    regret: Annotated[
        Path | None, typer.Option(help="Draw regrets there (.svg, .png), held out; a table beside it.", metavar="FILE")
    ] = None,
) -> None:
    """Run every policy in every scenario with every fleet, load and seed; a row of figures each.

    A cell that fails is a row with its reason, and the exit code is then 1. Rows are the same bit for bit wherever they
    are made.
    """
    from replay.scenario import ScenarioError
    from replay.sweep.kept import SUFFIX
    from replay.sweep.regret import LIMIT
    from replay.sweep.rows import RowsError, key
    from replay.sweep.spread import SpreadError

    whole = regret is not None
    if minutes and file is None and kept is None:
        raise typer.BadParameter(
            "what is stopped is resumed from a file: name it with --file or --kept", param_hint="--minutes"
        )
    if kept is not None and not kept.name.endswith(SUFFIX):
        raise typer.BadParameter(f"{kept.name!r} does not end in {SUFFIX}", param_hint="--kept")
    if regret is not None and regret.suffix not in (".svg", ".png"):
        raise typer.BadParameter(f"{regret.name!r} ends in neither .svg nor .png", param_hint="--regret")
    if regret is not None and file is not None and regret.with_suffix(".csv").resolve() == file.resolve():
        raise typer.BadParameter(f"its table would take the place of the rows in {file}", param_hint="--regret")
    if regret is not None and LIMIT not in arguments.policies(policy):
        raise typer.BadParameter(f"regrets are relative to the {LIMIT}: name it too", param_hint="--policy")
    ready(file)
    ready(regret)
    ready(kept)
    try:
        cells = _cells(
            scenarios, policy, fleets or (FLEETS if whole else "8"), loads or (LOADS if whole else "0.7"),
            seeds or (SEEDS if whole else "1"), held_out or whole, seconds, mean,
        )  # fmt: skip
        spreading = partial(_spread, jobs=jobs, backend=backend, address=address)
        with _keeping(kept, cells, spreading) as rows:
            new = [cell for cell in cells if cell.key() not in rows]
            for row in _run(new, spreading, out, file, resume, minutes):
                rows[key(row)] = row
        if regret is not None:
            _draw(list(rows.values()), regret)
    except (ScenarioError, RowsError, SpreadError) as error:
        raise Failure(str(error)) from None
    if any(row["error"] for row in rows.values()):
        raise typer.Exit(1)


def _cells(
    scenarios: list[str] | None, policy: str, fleets: str, loads: str, seeds: str, held_out: bool, seconds: float,
    mean: float,
) -> list[Cell]:  # fmt: skip
    from replay.library import makers
    from replay.sweep.cells import Stock, grid

    return grid(
        scenarios or list(makers()),
        arguments.policies(policy),
        arguments.numbers(fleets, int, "--fleets", 1, 1000),
        arguments.numbers(loads, float, "--loads", 0.01, 1.99),
        arguments.seeds(seeds),
        Stock(held_out, seconds, mean),
    )


def _spread(cells: Sequence[Cell], **how: Any) -> Iterator[dict[str, Any]]:
    from replay.sweep.measure import measure
    from replay.sweep.spread import spread

    return spread(measure, cells, **how)


@contextmanager
def _keeping(path: Path | None, cells: list[Cell], spreading: Any) -> Iterator[dict[tuple[str, ...], dict[str, Any]]]:
    """Rows of these cells by what tells them apart: first those that are kept; what joins them is, however it ends."""
    from replay.sweep import kept
    from replay.sweep.rows import key

    rows, other = kept.still(kept.read(path) if path is not None and path.exists() else [], cells, spreading)
    for line in other.values():
        typer.echo(f"{path}: rows of before a change are made again: {line}", err=True)
    wanted = {cell.key() for cell in cells}
    found = {key(row): row for row in rows if key(row) in wanted}
    try:
        yield found
    finally:
        if path is not None:
            kept.write(path, [*rows, *found.values()])


def _run(
    cells: list[Cell], spreading: Any, out: str, file: Path | None, resume: bool, minutes: float
) -> Iterator[dict[str, Any]]:
    """The rows of these cells: those that the file has, and those that are made now, written as they come."""
    from replay.report.write import naming
    from replay.sweep import rows as tables

    wanted = {cell.key() for cell in cells}
    done: list[dict[str, Any]] = []
    if resume and file is not None and file.exists():
        done = [row for row in tables.read(file) if not row["error"]]
    elif file is not None and file.exists() and file.stat().st_size:
        raise Failure(f"{file} is there already: --resume goes on with it, or name another")
    _as_before(cells, done, spreading, file)
    yield from (row for row in done if tables.key(row) in wanted)
    todo = tables.left(cells, done)
    with naming(file), ExitStack() as stack:
        to = stack.enter_context(_table(file, done)) if file is not None else sys.stdout
        if file is None and out == "csv":
            tables.begin(to)
        progress = Progress(len(todo), "cells")
        stack.callback(progress.close)
        end = clock.monotonic() + 60.0 * minutes if minutes else float("inf")
        for begin in range(0, len(todo), lot := 100 if minutes else max(1, len(todo))):
            if clock.monotonic() > end:
                again = "--resume" if file is not None else "the same again"
                typer.echo(f"{len(todo) - begin} of {len(cells)} cells are left: {again} goes on", err=True)
                break
            for row in spreading(todo[begin : begin + lot]):
                if file is not None or out == "csv":
                    tables.write(to, row)
                else:
                    typer.echo(tables.as_json([row]), nl=False)
                if row["error"]:
                    typer.echo(f"{' '.join(tables.key(row))}: {row['error']}", err=True)
                progress.step(row["scenario"])
                yield row


def _as_before(cells: list[Cell], done: list[dict[str, Any]], spreading: Any, file: Path | None) -> None:
    """Refuses rows of another simulator or of another policy of that name. Raises Failure."""
    from replay.sweep.again import changed, sample

    if other := changed(sample(cells, done), spreading):
        lines = "\n  ".join(other.values())
        raise Failure(f"{file}: rows of before a change; take those of these policies out, or name another:\n  {lines}")


def _table(file: Path, done: list[dict[str, Any]]) -> IO[str]:
    """The file, open at its end, with the whole rows that it had: what was cut off and what failed is gone."""
    from replay.sweep import rows as tables

    part = file.with_name(file.name + ".part")
    with part.open("w", encoding="utf-8") as to:
        tables.begin(to)
        for row in done:
            tables.write(to, row)
    part.replace(file)
    return file.open("a", encoding="utf-8")


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The picture, its table beside it, and what to say of it."""
    from replay.report.write import put, whole
    from replay.sweep.picture import draw
    from replay.sweep.regret import Regret, lines, table

    found = Regret(rows)
    if not found.cells:
        raise Failure(f"{path}: not drawn: no run of the clairvoyant came to its end")
    put(table(found), path.with_suffix(".csv"))
    with whole(path) as new:
        draw(found, new)
    typer.echo("\n".join(lines(found)))
