"""`adaptive bench arena`: what was asked for, checked; then the comparison, and its report."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import typer
import uvloop

from adaptive.arena.peers import PEERS
from adaptive.bench import arena, standing
from adaptive.bench.running import NotStarted, undisturbed
from adaptive.commands.arguments import names
from adaptive.commands.reporting import command, finish, read_thresholds, ready
from adaptive.config.suggest import suggestion
from adaptive.demo.processes import Failed
from adaptive.failure import Failure
from replay.scenario import Scenario, ScenarioError
from replay.scenario_file import checked


def run(
    files: Sequence[Path],
    scenario: str,
    peer: str,
    without: str,
    data_plane: str,
    seed: int,
    seconds: float,
    gateways: int,
    out: Literal["text", "json", "csv", "html"],
    file: Path | None,
    threshold: list[str] | None,
) -> None:
    """The command. Raises Failure, typer.BadParameter, and typer.Exit: 1 where Adaptive is worse or nothing could be
    judged, 99 where a threshold is broken.
    """
    peers = _chosen(peer, PEERS, "--peer", "peer")
    switches = _chosen(without, arena.SWITCHES, "--without", "switch")
    _chosen(data_plane, ("embedded", "envoy"), "--data-plane", "data plane")
    sides, missing = arena.contenders(peers, switches, data_plane)
    promises = read_thresholds(threshold, [side.name for side in sides])
    ready(file)
    scenarios = _scenarios(files, scenario, seconds)
    for sentence in missing:
        typer.echo(sentence, err=True)
    if gateways:
        scenarios = [replace(one, gateways=gateways) for one in scenarios]
    root = seed if seed >= 0 else None
    with tempfile.TemporaryDirectory(prefix="adaptive-arena-") as scratch:
        try:
            with undisturbed(_aside):
                shown = uvloop.run(arena.compare(scenarios, sides, root, Path(scratch), _aside))
        except (NotStarted, Failed) as error:
            raise Failure(str(error)) from None
    seeds = [root] if root is not None else [one.seed for one in scenarios]
    title = f"{', '.join(side.name for side in sides)} in {', '.join(one.name for one in scenarios)}"
    finish(standing.report(shown, title, command(), seeds, missing), out, file, promises)
    if standing.worse(shown) or len(standing.sound(shown)) < len(scenarios):
        raise typer.Exit(1)


def _chosen(text: str, known: Collection[str], option: str, what: str) -> list[str]:
    """Names that exist, each once. Raises BadParameter."""
    found = list(dict.fromkeys(names(text)))
    for name in found:
        if name not in known:
            hint = suggestion(name, known) or f"; known: {', '.join(known)}"
            raise typer.BadParameter(f"there is no {what} {name!r}{hint}", param_hint=option)
    return found


def _scenarios(files: Sequence[Path], chosen: str, seconds: float) -> list[Scenario]:
    try:
        own = (arena.own(name) for name in (*arena.NAMES, *arena.APART))
        found = {one.name: one for one in (arena.read(files) if files else own)}
        usual = [name for name in found if files or name in arena.NAMES]
        wanted = _chosen(chosen, found, "--scenario", "scenario") or usual
        made = [found[name] for name in wanted]
        return [checked(arena.stretched(one, seconds)) for one in made] if seconds else made
    except ScenarioError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from None


def _aside(line: str) -> None:
    typer.echo(line, err=True)
