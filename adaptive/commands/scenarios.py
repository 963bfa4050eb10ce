"""`adaptive scenarios`: the standard scenarios, listed, and each as a file to start from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from adaptive.commands.arguments import LONGEST, SLOWEST
from adaptive.failure import Failure


def scenarios(
    name: Annotated[str, typer.Argument(help="Print this one, as JSON; none: list them all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="List as JSON.")] = False,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Instances.")] = 8,
    load: Annotated[float, typer.Option(min=0.01, max=1.99, help="Share of the fleet's capacity.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="Of severities, victims and times.")] = 0,
    seconds: Annotated[
        float, typer.Option(min=1.0, max=LONGEST, help="Length, to which the schedule is scaled.")
    ] = 300.0,
    mean: Annotated[float, typer.Option(min=0.0001, max=SLOWEST, help="Mean service time, seconds.")] = 0.01,
    held_out: Annotated[bool, typer.Option(help="Severities and seeds that tuning has not seen.")] = False,
    burst: Annotated[bool, typer.Option(help="Add spans of twice the rate.")] = False,
) -> None:
    """List the standard scenarios, or print one as JSON, to run it or to start from it.

    Those whose names begin with `arena_` are ten instances of six slots at 1,000 requests a second; only --seed counts.
    """
    from adaptive.config.suggest import suggestion
    from replay import library
    from replay.scenario_file import to_json

    arena = {f"arena_{key}": scenario for key, scenario in library.arena(seed).items()}
    known = {**{key: library.summary(key) for key in library.makers()}, **dict.fromkeys(arena, "")}
    for key in arena:
        known[key] = f"{key.removeprefix('arena_').replace('_', ' ')}, before the arena's fleet"
    if not name:
        width = max(map(len, known))
        lines = [json.dumps(known, indent=2)] if as_json else [f"{key:{width}}  {text}" for key, text in known.items()]
        typer.echo("\n".join(lines))
        return
    if name not in known:
        raise Failure(f"there is no scenario {name!r}{suggestion(name, known) or '; list them without a name'}")
    try:
        made = arena.get(name) or library.one(name, n, load, seed, held_out, seconds, mean, burst)
    except ValueError as error:
        raise Failure(str(error)) from None
    typer.echo(json.dumps(to_json(made), indent=1))
