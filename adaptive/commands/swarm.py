"""`adaptive swarm`: worlds drawn from seeds, in which no promise may be broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive.failure import Failure

if TYPE_CHECKING:
    from replay.swarm import Finding
    from replay.worlds import World


def swarm(
    seeds: Annotated[str, typer.Option(help="Seeds from A up to, not with, B.", metavar="A:B")] = "0:300",
    seed: Annotated[int | None, typer.Option(min=0, help="This one alone.")] = None,
    file: Annotated[Path | None, typer.Option(help="A world that --save has written.", metavar="FILE")] = None,
    policy: Annotated[str, typer.Option(help="This policy in every world; else each draws its own.")] = "",
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core.")] = 1,
    save: Annotated[Path | None, typer.Option(help="Write failing worlds there, made small.", metavar="DIR")] = None,
    shrink: Annotated[bool, typer.Option(help="Make failing worlds smaller.")] = True,
) -> None:
    """Run whole worlds, each drawn from a seed, and check what must hold in all of them; exit 1 where it does not.

    Each world's seed is printed before the world runs; a failure is printed with the command that makes it again.
    """
    from replay.scenario import ScenarioError
    from replay.sweep.spread import SpreadError, spread

    failed = 0
    try:
        worlds = _worlds(seeds, seed, file, policy)
        for found in spread(_examine, worlds, jobs):
            if found.violations:
                failed += 1
                _tell(found, policy, save, shrink, str(file) if file else "")
    except (ScenarioError, SpreadError) as error:
        raise Failure(str(error)) from None
    typer.echo(f"{len(worlds) - failed} of {len(worlds)} worlds kept every promise")
    if failed:
        raise typer.Exit(1)


def _worlds(seeds: str, seed: int | None, file: Path | None, policy: str) -> list[World]:
    from replay.policies import named
    from replay.scenario_file import load
    from replay.swarm import of_scenario
    from replay.worlds import draw

    if policy:
        try:
            named(policy)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--policy") from None
    if file is not None:
        return [of_scenario(load(file))]
    if seed is not None:
        return [draw(seed, policy)]
    first, colon, last = seeds.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise typer.BadParameter(f"{seeds!r} is not A:B with A below B", param_hint="--seeds")
    return [draw(s, policy) for s in range(int(first), int(last))]


def _examine(world: World) -> Finding:
    from replay.swarm import described, examine

    print(f"seed {world.seed}: {described(world)}", file=sys.stderr, flush=True)
    return examine(world)


def _tell(found: Finding, policy: str, save: Path | None, shrink: bool, file: str) -> None:
    """One failure, its smallest form, and how to see it again."""
    from replay.report.write import put
    from replay.scenario_file import to_json
    from replay.swarm import described, smaller

    world, first = found.world, found.violations[0]
    for violation in found.violations:
        typer.echo(f"seed {world.seed}: {violation}")
    if shrink:
        world = smaller(world, first.invariant)
        typer.echo(f"  it breaks in this too: {described(world)}")
        for i, instance in enumerate(world.scenario.instances):
            for fault in instance.faults:
                values = ", ".join(f"{key} {value:g}" for key, value in fault.values.items())
                typer.echo(f"    instances[{i}]: {fault.kind} from {fault.start:.2f} to {fault.end:.2f} s, {values}")
    again = f"--file {file}" if file else f"--seed {world.seed}{f' --policy {policy}' if policy else ''}"
    typer.echo(f"  again: adaptive swarm {again}")
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        path = save / f"world-{world.seed}.json"
        put(json.dumps(to_json(world.scenario), indent=1) + "\n", path)
        typer.echo(f"  saved: adaptive swarm --file {path}")
