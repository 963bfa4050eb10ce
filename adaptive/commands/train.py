"""`adaptive train`: a model from what was recorded, scored on what came later, put into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adaptive.failure import Failure

if TYPE_CHECKING:
    from models.store import Store

Sources = Annotated[
    list[Path] | None,
    typer.Argument(help="Recordings, or a day of calls between pods: files, or directories.", metavar="[TRACE]..."),
]
StoreDir = Annotated[
    Path | None, typer.Option("--store", help="The model store; else the gateway's own.", metavar="DIR")
]


def train(
    trace: Sources = None,
    faults: Annotated[
        Path | None, typer.Option(help="Faults of a day of calls: pod, type and time of each.", metavar="FILE")
    ] = None,
    store: StoreDir = None,
    name: Annotated[
        Literal["none", "challenger", "champion"], typer.Option("--as", help="The name that it gets.")
    ] = "none",
    part: Annotated[float, typer.Option(min=0.1, max=0.9, help="Share, first in time, to train on.")] = 0.6,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    prometheus: Annotated[
        str, typer.Option(help="Train on the history of this server instead of on recordings.", metavar="URL")
    ] = "",
    mapping: Annotated[
        str, typer.Option(help="Which metrics mean what: adaptive, envoy, istio, or a YAML file.", metavar="NAME")
    ] = "adaptive",
    since: Annotated[str, typer.Option("--from", help="Begin of the history: a time such as 2026-01-31T12:00Z.")] = "",
    until: Annotated[str, typer.Option("--to", help="Its end; now unless given. One day back from it is read.")] = "",
    step: Annotated[str, typer.Option(help="Seconds between two readings: the server's own interval.")] = "5s",
    jobs: Annotated[int, typer.Option(min=-1, help="Processes; -1: one a core.")] = -1,
    cluster: Annotated[
        Literal["none", "dask", "ray"], typer.Option(help="Spread the work over a cluster of this kind.")
    ] = "none",
    address: Annotated[str, typer.Option(help="Its scheduler; else one of its own on this machine.")] = "",
) -> None:
    """Train a model, print its scores beside every baseline, save it in the store, and print its id.

    The split is by time: the first part trains, the rest scores.
    """
    from adaptive import clock
    from adaptive.commands import learning, pods

    kept = opened(store)
    paths = trace or []
    if prometheus and paths:
        raise typer.BadParameter("name recordings, or a server, not both", param_hint="--prometheus")
    if len(paths) == 1 and (faults is not None or pods.is_calls(paths[0])):
        made = pods.train(paths[0], faults, part, seed, kept, clock.wall(), say)
    elif paths or prometheus:
        spread = learning.Spread(jobs, "loky" if cluster == "none" else cluster, address)
        if prometheus:
            asked = learning.Asked(prometheus, mapping, since, until, step, clock.wall())
            tables, limit = learning.of_prometheus(asked, say), learning.COUNTED
        else:
            tables, limit = learning.of_recordings(paths, spread, say), ""
        where = prometheus or ", ".join(map(str, paths))
        made = learning.train(tables, part, seed, kept, clock.wall(), say, limit, where)
    else:
        raise Failure("nothing to train on: name recordings, a day of calls, or a server with --prometheus")
    finish(kept, made, name)


def opened(directory: Path | None) -> Store:
    """The store that is meant. Raises Failure where it cannot be one."""
    from adaptive.app import state_directory
    from models.store import Store

    place = directory if directory is not None else state_directory() / "models"
    if place.exists() and not place.is_dir():
        raise Failure(f"{place}: a model store is a directory, and this is none")
    return Store(place)


def finish(store: Store, made: str, name: Literal["none", "challenger", "champion"]) -> None:
    """Names the version as asked, and prints its id. Raises Failure."""
    from adaptive import clock
    from models.saved import StoreError

    say(f"saved as {made} in {store.directory}")
    if name != "none":
        try:
            store.promote(made, name, "named at training", clock.wall())
        except StoreError as error:
            raise Failure(str(error)) from None
        say(f"it is the {name} now")
    typer.echo(made)


def say(text: str) -> None:
    """Words go to stderr."""
    typer.echo(text, err=True)
