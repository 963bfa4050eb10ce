"""Fidelity: scenarios run live and simulated, policy by policy, and whether the simulation told what life would be.

For each scenario every policy is run live, side by side on the same arrivals, each with a fleet and a gateway of its
own; then it is simulated, with the same requests and the same work, several times, each with another luck. Of the wire
the simulation is told what this machine needs for a request that takes no time to serve, measured beforehand with as
many gateways beside each other. Life is one draw too: where it is off by more than it may, it is said whether chance
explains that. A row whose load was late measures the machine, and is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from errno import ENOENT
from pathlib import Path
from typing import Any

import numpy as np

from adaptive.arena import lateness, live
from adaptive.arena.live import Live
from adaptive.bench import foretold
from adaptive.bench.foretold import Foretold
from adaptive.bench.likeness import SIMULATED, Figures, beyond, by_chance, middle, misorders, misses, pairs, spread
from replay import scenario_file
from replay.policies import named
from replay.scenario import Instance, Load, Scenario, Service
from replay.simulator.simulation import simulate

Say = Callable[[str], None]

OWN = tuple(Path(live.__file__).parent / "scenarios" / f"{name}.json" for name in ("pauses", "restart"))
DRAWS = 9  # runs of a simulation: the middle of so many is moved by chance a third as far as one is
INSTANT = 1e-6  # seconds of service, which count for none
BESIDE = 4  # gateways at a time, each with a fleet and a load: at 1,000 requests/s they take half of two cores
WIRE_SECONDS, WIRE_WARM = 4.0, 1.0  # of the run that measures the wire


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one scenario: live, live once more where that was asked for, and simulated."""

    scenario: str
    policy: str
    requests: int
    live: Figures
    again: Figures | None
    simulated: Figures  # the middle of these:
    draws: tuple[Figures, ...]
    late: float  # how late the load was (`lateness.worst`), seconds

    @property
    def wrong(self) -> list[str]:
        """What the simulation has wrong. Of two live runs their middle counts: each is one draw of chance."""
        return misses(self.simulated, self.lived, SIMULATED)

    @property
    def judged(self) -> bool:
        """Whether the load was on time."""
        return self.late <= lateness.MOST

    @property
    def explained(self) -> bool:
        """Whether chance explains what is wrong."""
        found = by_chance(self.draws, self.lived, 1 if self.again is None else 2)
        wrong = beyond(self.simulated, self.lived, SIMULATED)
        return all(ok for ok, off in zip(found, wrong, strict=True) if off)

    @property
    def lived(self) -> Figures:
        """Life: the live run, or the middle of two."""
        return self.live if self.again is None else middle((self.live, self.again))


@dataclass(frozen=True, slots=True)
class Result:
    """All of it."""

    wire: float  # seconds
    rows: tuple[Row, ...]
    foretold: tuple[Foretold, ...]

    @property
    def judged(self) -> list[Row]:
        """The rows whose load was on time."""
        return [row for row in self.rows if row.judged]

    @property
    def passed(self) -> bool:
        """Whether every row and every order is right, nine in ten intervals hold what came true, and the answers that
        must fail do.
        """
        covered = [ok for row in self.foretold for ok in row.covered()]
        wrong = any(row.wrong for row in self.judged) or any(row.wrong for row in self.foretold)
        right = bool(self.judged) and not wrong and not orders(self) and sum(covered) >= 0.9 * len(covered)
        return right and foretold.shown(self.foretold)

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def scenarios(paths: Sequence[Path]) -> list[Scenario]:
    """The scenarios in these files, and in folders of them. Raises ScenarioError and OSError."""
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    return [scenario_file.load(file) for file in files]


async def live_runs(
    scenarios: Sequence[Scenario],
    policies: Sequence[str],
    seed: int | None,
    folder: Path,
    say: Say,
    *,
    repeat: bool = False,
    trace: str = "",
    beside: int = BESIDE,
) -> None:
    """Runs every scenario live and leaves all that `judge` needs in `folder`. `seed` None: each scenario's own.

    `repeat`: twice; `trace`: a recording under this policy, with random picks, is made beside the others; `beside`: so
    many gateways at a time.
    """
    sides = [(policy, 0.0) for policy in policies] + ([(trace, foretold.SHARE)] if trace else [])
    most = min(beside, len(sides))
    say(f"measuring the wire with {most} gateways beside each other")
    wire = await _wire(scenarios[0], most, folder / "wire")
    for scenario in scenarios:
        root = scenario.seed if seed is None else seed
        for luck, name in enumerate((scenario.name, f"{scenario.name}-again")[: 2 if repeat else 1]):
            say(f"{name}: {scenario.seconds:g} s live, seed {root}")
            for i in range(0, len(sides), beside):
                await live.together(scenario, sides[i : i + beside], root, folder / name, i, luck)
        plan = {
            "scenario": scenario_file.to_json(scenario),
            "seed": root,
            "wire": wire,
            "sides": sides,
            "repeat": repeat,
        }
        (folder / f"{scenario.name}.json").write_text(json.dumps(plan), encoding="utf-8")


def judge(folder: Path, say: Say) -> Result:
    """Simulates what was run live, predicts from what was recorded, and compares. Raises FileNotFoundError."""
    plans = sorted(folder.glob("*.json"))
    if not plans:
        raise FileNotFoundError(ENOENT, "no live runs of an earlier call", str(folder))
    rows: list[Row] = []
    told: list[Foretold] = []
    wire = 0.0
    for path in plans:
        plan = json.loads(path.read_text(encoding="utf-8"))
        scenario, seed, wire = scenario_file.of(plan["scenario"], str(path)), plan["seed"], plan["wire"]
        first = [live.left(scenario, side, seed, folder / path.stem, i) for i, side in enumerate(plan["sides"])]
        again = f"{path.stem}-again"
        second = (
            [live.left(scenario, side, seed, folder / again, i) for i, side in enumerate(plan["sides"])]
            if plan["repeat"]
            else []
        )
        for i, one in enumerate(first):
            if one.random_picks:
                continue
            runs = simulated(replace(scenario, wire=wire), one.policy, seed)
            rows.append(_row(runs, one, second[i] if second else None))
            say(line(rows[-1]))
        if first[-1].random_picks:
            told += foretold.foretell(first[-1], first[:-1], say)
    return Result(wire, tuple(rows), tuple(told))


async def _wire(scenario: Scenario, sides: int, folder: Path) -> float:
    """Seconds that a request takes which needs no service: all but the instance's own time, the load's jitter too."""
    fleet = tuple(Instance(f"127.0.0.1:{9100 + i}", Service(INSTANT, 0.0, "constant")) for i in range(4))
    rates = ((0.0, max(rate for _, rate in scenario.load.rates)),)
    idle = Scenario("wire", fleet, Load(rates), seconds=WIRE_SECONDS, warm=WIRE_WARM, wire=0.0)
    runs = await live.together(idle, [("least_request", 0.0)] * sides, 1, folder)
    return float(np.median([one.quantile(0.5) for one in runs]))


def simulated(scenario: Scenario, policy: str, seed: int) -> list[Figures]:
    """Several runs of the same requests with the same work, each with another luck."""
    live = replace(named(policy), admission=True)  # the gateway limits and sheds under every policy
    runs = [simulate(scenario, live, seed, views=False, luck=k) for k in range(1, DRAWS + 1)]
    return [Figures.of(run.seen(), run.failures()) for run in runs]


def _row(runs: Sequence[Figures], one: Live, again: Live | None) -> Row:
    return Row(
        one.scenario,
        one.policy,
        len(one.judged()),
        figures(one),
        figures(again) if again is not None else None,
        middle(runs),
        tuple(runs),
        max(_late(each) for each in (one, again) if each is not None),
    )


def _late(one: Live) -> float:
    rows = one.judged()
    return lateness.worst(rows["due"], rows["late"])


def figures(one: Live) -> Figures:
    """What the clients of a live run saw."""
    return Figures.of(one.seen(), one.failures())


def line(row: Row) -> str:
    """A row for the terminal: live, simulated and off by how much; then how far two live runs were apart."""
    live, said = row.lived, row.simulated
    off = said.off(live)
    text = (
        f"{row.scenario:12} {row.policy:14} p50 {1e3 * live.p50:7.1f} {1e3 * said.p50:7.1f} {off[0]:+6.1%}  "
        f"p99 {1e3 * live.p99:7.1f} {1e3 * said.p99:7.1f} {off[1]:+6.1%}  failed {live.failed:5.0f} {said.failed:5.0f}"
    )
    if row.again is not None:
        twice = row.again.off(row.live)
        text += f"  live twice {twice[0]:+6.1%} {twice[1]:+6.1%} {twice[2]:+5.0f}"
    worst = [max(abs(one.off(said)[k]) for one in row.draws) for k in range(3)]
    text += f"  draws within {worst[0]:.1%} {worst[1]:.1%} {worst[2]:.0f}"
    if not row.judged:
        return text + f"  not judged: the load was {1e3 * row.late:.1f} ms late"
    if not row.wrong:
        return text
    return f"{text}  WRONG: {', '.join(row.wrong)}{', which chance explains' if row.explained else ''}"


def table(result: Result) -> Iterator[str]:
    """The verdict, in lines."""
    rows = result.judged
    right = sum(not row.wrong for row in rows)
    chance = sum(bool(row.wrong) and row.explained for row in rows)
    yield (
        f"simulated as live: {right} of {len(rows)} rows within 5 % (p50), 10 % (p99) and 10 % or 5 requests (failed), "
        f"{chance} more within what chance explains; {len(result.rows) - len(rows)} not judged: their load was late"
    )
    judged = sum(pairs(truth) for _, truth in _by_scenario(rows))
    yield f"order of policies: {judged - len(orders(result))} of {judged} pairs right that differ by more than 5 %"
    if again := [row for row in rows if row.again is not None]:
        apart = spread([row.live for row in again], [row.again for row in again if row.again is not None])
        yield (
            f"two live runs of the same were apart by {apart.p50:.1%} (p50), {apart.p99:.1%} (p99) and "
            f"{apart.failed:.0f} failures, in the median"
        )
    yield from foretold.table(result.foretold)


def orders(result: Result) -> list[str]:
    """Pairs that the simulation has the wrong way round."""
    return [
        f"{said[0]}: {text}"
        for said, (_, truth) in zip(_by_scenario(result.judged, True), _by_scenario(result.judged), strict=True)
        for text in misorders(said[1], truth)
    ]


def _by_scenario(rows: Sequence[Row], simulated: bool = False) -> list[tuple[str, dict[str, Figures]]]:
    names = dict.fromkeys(row.scenario for row in rows)
    return [
        (name, {r.policy: r.simulated if simulated else r.lived for r in rows if r.scenario == name}) for name in names
    ]
