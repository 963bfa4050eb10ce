"""`adaptive simulate`: policies in a scenario, in virtual time, and what its clients would have seen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive.commands import arguments
from adaptive.commands.arguments import LONGEST, SLOWEST
from adaptive.commands.progress import Progress
from adaptive.commands.reporting import File, Out, Thresholds, command, finish, read_thresholds, ready
from adaptive.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.comparison import Part
    from replay.sweep.cells import Cell

USUAL = "adaptive,least_request,peak_ewma_outlier,clairvoyant"


def simulate(
    scenarios: Annotated[
        list[str], typer.Argument(help="Files, in either form, or names of standard scenarios.", metavar="SCENARIO...")
    ],
    policy: Annotated[str, typer.Option("--policy", help="Policies, with commas between.", metavar="A,B,...")] = USUAL,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="So many seeds from the first on.")] = 1,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Instances of a standard scenario.")] = 8,
    load: Annotated[float, typer.Option(min=0.01, max=1.99, help="Its share of the fleet's capacity.")] = 0.7,
    seconds: Annotated[float, typer.Option(min=1.0, max=LONGEST, help="Its length.")] = 60.0,
    mean: Annotated[float, typer.Option(min=0.0001, max=SLOWEST, help="Its mean service time, seconds.")] = 0.04,
    held_out: Annotated[bool, typer.Option(help="Severities and seeds that tuning has not seen.")] = False,
    burst: Annotated[bool, typer.Option(help="Add spans of twice the rate.")] = False,
    arrivals: Annotated[
        Path | None,
        typer.Option(
            help="Let the load rise and fall as there: a trace, or counts (CSV, JSON, JSONL).", metavar="FILE"
        ),
    ] = None,
    exact: Annotated[bool, typer.Option(help="Take the arrivals of that file as they were.")] = False,
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core.")] = 1,
    out: Out = "text",
    file: File = None,
    threshold: Thresholds = None,
    record: Annotated[
        Path | None, typer.Option(help="Write every attempt as a trace, to evaluate or to train from.", metavar="FILE")
    ] = None,
) -> None:
    """Run policies in scenarios, in virtual time. All policies meet the same requests and faults.

    Of 95 % intervals: over the seeds where there are five or more, else over blocks of time.
    """
    from replay.comparison import report
    from replay.shapes import shape_of
    from replay.sweep.cells import Stock, arriving, grid
    from replay.sweep.spread import SpreadError

    policies = arguments.policies(policy)
    promises = read_thresholds(threshold, policies)
    ready(file)
    ready(record)
    if record is not None and (len(policies) > 1 or len(scenarios) > 1 or seeds > 1):
        raise typer.BadParameter("a trace is of one policy, one scenario and one seed", param_hint="--record")
    if exact and arrivals is None:
        raise typer.BadParameter("there is no file whose arrivals it could take: --arrivals", param_hint="--exact")
    try:
        stock = Stock(held_out, seconds, mean, burst)
        cells = grid(scenarios, policies, [n], [load], range(seed, seed + seeds), stock)
        if arrivals is not None:
            shape = shape_of(arrivals)
            cells = [arriving(cell, shape, exact) for cell in cells]
        made = report(_parts(cells, seed, jobs), command())
        if record is not None:
            _record(cells[0], record)
    except (SpreadError, ValueError) as error:  # a ScenarioError is one
        raise Failure(str(error)) from None
    finish(made, out, file, promises)


def _parts(cells: Sequence[Cell], first: int, jobs: int) -> list[Part]:
    """The runs. What is drawn of them is that of the first seed."""
    from replay.sweep.spread import spread

    progress = Progress(len(cells), "runs", quiet=len(cells) == 1)
    made = []
    try:
        for one in spread(partial(_part, first=first), cells, jobs):
            made.append(one)
            progress.step(f"{one.scenario}, {one.cell.policy}")
    finally:
        progress.close()
    return made


def _part(cell: Cell, first: int) -> Part:
    from replay.comparison import part

    return part(cell, cell.seed == first)


def _record(cell: Cell, path: Path) -> None:
    """Writes a run's attempts as a trace."""
    from adaptive.telemetry.recording import Header
    from replay.scenario_file import plain_rules
    from replay.simulator.simulation import CLUSTER, cluster_of
    from replay.simulator.simulation import simulate as run
    from replay.trace import Trace, TraceError, write

    scenario = cell.made()
    seed = cell.drawn(scenario)
    rows = run(scenario, cell.policy, seed, record=True, views=False).outcomes
    assert rows is not None
    members = cluster_of(scenario, "adaptive").members
    header = Header(
        seeds={"simulation": seed},
        workers=scenario.gateways * scenario.workers,
        routes=("route",),
        clusters=(CLUSTER,),
        endpoints={str(m.slot): (CLUSTER, m.endpoint.address) for m in members},
        rules={"route": plain_rules(scenario.rules)},
        source=f"adaptive simulate {scenario.name} --policy {cell.policy}",
    )
    try:
        write(Trace(header, rows), path)
    except TraceError as error:
        raise Failure(str(error)) from None
    typer.echo(f"{len(rows)} attempts are in {path}", err=True)
