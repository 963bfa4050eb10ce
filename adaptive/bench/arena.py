"""Adaptive beside nginx, HAProxy and Envoy: scenarios run live with all of them at the same time, and who did best.

Each gateway has a fleet of its own with the same faults and the same requests (`adaptive.arena.contest`), so that only
figures of one run are compared. Other work on the machine is kept out by real-time scheduling where that is
granted; a run in which the load or a fleet was late all the same measures the machine, and is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaptive.arena import contest
from adaptive.arena.contest import Contender, Shown
from adaptive.arena.peers import PEERS
from adaptive.bench.running import Gateway
from replay import scenario_file
from replay.scenario import Fault, Scenario, ScenarioError

Say = Callable[[str], None]
OWN = Path(contest.__file__).parent / "scenarios"
# Those in the folder that are this comparison's, in the order in which they are run.
NAMES = (
    "calm", "fast_errors", "hang", "slow_node", "surge", "long_surge", "gray_slow", "leak", "wandering_pauses",
    "uneven", "partial_hang", "zone_down", "ramp",
)  # fmt: skip
APART = ("swings",)  # is long: run only where it is named
OURS = "adaptive"
# Switches of a cluster, each off by itself.
SWITCHES: Mapping[str, Any] = dict.fromkeys(("predict", "learn_capacity", "hedging", "stall_gate", "overload"), False)


def known() -> dict[str, str]:
    """Our own scenarios: what happens in each, by its name."""
    return {name: str(own(name).notes.get("about", "")) for name in (*NAMES, *APART)}


def own(name: str) -> Scenario:
    """One of our own."""
    return scenario_file.load(OWN / f"{name}.json")


def read(paths: Sequence[Path]) -> list[Scenario]:
    """The scenarios in these files, and in folders of them, or in their folder `scenarios`. Raises ScenarioError and
    OSError.
    """
    found = []
    for path in paths:
        inner = path / "scenarios"
        folder = inner if inner.is_dir() else path
        files = sorted(folder.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise ScenarioError(f"{path}: holds no scenario: no file ends in .json")
        found += [scenario_file.load(file) for file in files]
    return found


def stretched(scenario: Scenario, seconds: float) -> Scenario:
    """The same in so many seconds: the whole schedule is scaled, not what happens within a fault (pauses, periods)."""
    k = seconds / scenario.seconds
    load = scenario.load
    if load.due is not None:
        raise ScenarioError(f"{scenario.name}: its requests are given one by one, so it cannot be stretched")

    def fault(one: Fault) -> Fault:
        return replace(one, start=k * one.start, end=k * one.end)

    return replace(
        scenario,
        seconds=seconds,
        warm=k * scenario.warm,
        load=replace(
            load, rates=tuple((k * t, r) for t, r in load.rates), work=tuple((k * t, w) for t, w in load.work)
        ),
        instances=tuple(replace(i, faults=tuple(map(fault, i.faults))) for i in scenario.instances),
        stalls=tuple((gateway, k * at, length) for gateway, at, length in scenario.stalls),
    )


def contenders(
    peers: Sequence[str], without: Sequence[str], data_plane: str = "embedded"
) -> tuple[list[Contender], list[str]]:
    """Adaptive, again without each switch, and the peers that are installed; a sentence for each that is not."""
    found = [Contender(OURS, _ours({}, data_plane), watched=True)]
    found += [
        Contender(f"{OURS} without {name}", _ours({name: SWITCHES[name]}, data_plane), watched=True) for name in without
    ]
    missing = []
    for name in peers:
        reason = PEERS[name](Path(), ()).missing()
        if reason:
            missing.append(f"{name} is left out: {reason}")
        else:
            found.append(Contender(name, _peer(name)))
    return found, missing


def _ours(switches: Mapping[str, Any], data_plane: str) -> Callable[[Scenario, list[int], Path], Gateway]:
    def make(scenario: Scenario, ports: list[int], folder: Path) -> Gateway:
        settings = contest.configuration(scenario, ports, folder, switches)
        return Gateway(folder, settings, ("--data-plane", data_plane))

    return make


def _peer(name: str) -> Callable[[Scenario, list[int], Path], Any]:
    def make(scenario: Scenario, ports: list[int], folder: Path) -> Any:
        return PEERS[name](folder, [f"127.0.0.1:{port}" for port in ports])

    return make


async def compare(
    scenarios: Sequence[Scenario], sides: Sequence[Contender], seed: int | None, folder: Path, say: Say
) -> list[Shown]:
    """Every scenario with all sides; `seed` None: each scenario's own. Raises NotStarted and Failed."""
    found: list[Shown] = []
    for scenario in scenarios:
        root = scenario.seed if seed is None else seed
        say(f"{scenario.name}: {scenario.seconds:g} s, seed {root}, {', '.join(side.name for side in sides)}")
        shown = await contest.run(scenario, sides, root, folder / scenario.name)
        for one in shown:
            say(line(one))
        found += shown
    return found


def line(one: Shown) -> str:
    """One gateway in one scenario, for the terminal."""
    p50, p99, p999 = (1e3 * one.quantile(q) for q in (0.5, 0.99, 0.999))
    text = (
        f"  {one.name:30} {int(one.failed.sum()):6} of {len(one.due)} failed, p50 {p50:6.1f}  p99 {p99:7.1f}  "
        f"p99.9 {p999:7.1f} ms, {one.added:.2%} sent again (at most {one.most_added:.1%} in {contest.WINDOW} s), "
        f"{1e6 * one.each:.0f} µs of CPU, late {1e3 * one.late:.1f} ms, "
        f"processors {one.busy:.0%} busy"
    )
    return text + (f"  INVALID: {one.invalid}" if one.invalid else "")
