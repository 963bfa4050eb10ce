"""What the rows of a sweep say of each policy: relative to the clairvoyant, and to the best baseline of each scenario
and of each case.

A case is a scenario with a fleet and a load; policies are compared on the same seeds, so on the same arrivals and
faults. Ratios of p99 are averaged by their logarithms (a failed request counts as the clients' time-out), failures as
shares of the requests. The best baseline of a scenario is one for all of its fleets and loads, as who runs it has one.
It is chosen by the same rows that it is judged by: with few seeds that of a case is partly the luckiest, which flatters
it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from replay.sweep.measure import Row

LIMIT, OURS, RIVAL = "clairvoyant", "adaptive", "peak_ewma_outlier"
NOT_BASELINES = frozenset({LIMIT, OURS, "adaptive_fast"})
OFF = "=0"  # what a policy's name ends in that is ours with one mechanism switched off
# What the policy is to reach: of the rival's p99, of the best baseline's in each scenario, of the clairvoyant's.
BELOW_RIVAL, OVER_BEST, OVER_LIMIT = 0.75, 1.03, 1.25
# The whole grid of the table; with fewer seeds, fleets or loads it is partial, and says so.
FLEETS, LOADS, SEEDS = (5, 8, 16, 100), (0.7, 0.9), 20
MORE_FAILED = 0.001  # of the requests: more failures than the best baseline's by this are a loss


class Case(NamedTuple):
    """A scenario with its fleet and load."""

    scenario: str
    n: int
    load: float

    @property
    def family(self) -> str:
        """S1 to S17; another name as it is."""
        head = self.scenario.partition("_")[0]
        return head.upper() if head[:1] == "s" and head[1:].isdigit() else self.scenario

    def __str__(self) -> str:
        return f"{self.scenario}, {self.n} instances, load {self.load:g}"


class Standing(NamedTuple):
    """A policy's figures over some cells: p99 over the clairvoyant's, failures as a share, and beyond its."""

    p99: float
    failed: float
    beyond: float
    cells: int


@dataclass(frozen=True, slots=True)
class Beside:
    """Our policy beside the best baseline of a scenario, or of a case."""

    where: str
    baseline: str
    ratio: float  # our p99 over its
    failed: float  # our share of failures
    theirs: float


class Regret:
    """The table. Rows that failed, or of cells without the clairvoyant, are left out, and counted in `missing`."""

    def __init__(self, rows: Iterable[Row]) -> None:
        cells: dict[tuple[Case, str], dict[str, Row]] = defaultdict(dict)
        self.missing = 0
        for row in rows:
            if row["error"]:
                self.missing += 1
                continue
            case = Case(row["scenario"], int(row["n"]), float(row["load"]))
            cells[case, str(row["seed"])][row["policy"]] = row
        self.cells = {key: found for key, found in cells.items() if LIMIT in found}
        self.missing += sum(len(found) for key, found in cells.items() if key not in self.cells)
        names = {name for found in self.cells.values() for name in found}
        self.families = sorted({case.family for case, _ in self.cells}, key=_order)
        self.fleets = sorted({(case.n, case.load) for case, _ in self.cells})
        self.seeds = len({seed for _, seed in self.cells})
        # The best first: by p99 over all.
        self.policies = sorted(names, key=lambda name: self.standing(name).p99)

    def partial(self) -> str:
        """How much of the whole grid is here, of the scenarios that are; "" where all is."""
        here = sum(case.n in FLEETS and case.load in LOADS for case, _ in self.cells)
        whole = len(FLEETS) * len(LOADS) * SEEDS * len({case.scenario for case, _ in self.cells})
        return f"partial: {here} of {whole} scenarios × fleets × loads × seeds" if here < whole else ""

    def standing(self, policy: str, family: str = "", fleet: tuple[int, float] | None = None) -> Standing:
        """A policy over all cells, or those of a family, of a fleet and load."""
        ratios, failed, beyond = [], [], []
        for (case, _), found in self.cells.items():
            if policy in found and family in ("", case.family) and fleet in (None, (case.n, case.load)):
                one, limit = found[policy], found[LIMIT]
                ratios.append(one["p99"] / limit["p99"])
                failed.append(one["failed"] / one["requests"])
                beyond.append(failed[-1] - limit["failed"] / limit["requests"])
        if not ratios:
            return Standing(math.nan, math.nan, math.nan, 0)
        return Standing(_geometric(ratios), float(np.mean(failed)), float(np.mean(beyond)), len(ratios))

    def by_scenario(self, ours: str = OURS) -> list[Beside]:
        """Our policy beside the best baseline of each scenario."""
        return self._beside(ours, lambda case: case.scenario)

    def by_case(self, ours: str = OURS) -> list[Beside]:
        """Our policy beside the best baseline of each case."""
        return self._beside(ours, str)

    def _beside(self, ours: str, group: Callable[[Case], str]) -> list[Beside]:
        groups: dict[str, list[dict[str, Row]]] = {}
        for case, seed in sorted(self.cells, key=lambda cell: (_order(cell[0].family), cell)):
            if ours in self.cells[case, seed]:
                groups.setdefault(group(case), []).append(self.cells[case, seed])
        made = []
        for where, cells in groups.items():
            names = {name for name in cells[0] if name not in NOT_BASELINES and not name.startswith(f"{OURS}@")}
            rivals = [name for name in sorted(names - {ours}) if all(name in found for found in cells)]
            if rivals:
                ratios = {name: _ratio(cells, ours, name) for name in rivals}
                best = max(rivals, key=lambda name: ratios[name])
                made.append(Beside(where, best, ratios[best], _failed(cells, ours), _failed(cells, best)))
        return made

    def over(self, rival: str, ours: str = OURS) -> float:
        """Our p99 over another's, the geometric mean over the cells that both have; NaN where there is none."""
        pairs = [f for f in self.cells.values() if rival in f and ours in f]
        return _ratio(pairs, ours, rival) if pairs else math.nan


def lost(found: Iterable[Beside]) -> list[Beside]:
    """Where the best baseline's p99 is lower by more than OVER_BEST, or where it fails less; the worst first."""
    worse = [x for x in found if x.ratio > OVER_BEST or x.failed > x.theirs + MORE_FAILED]
    return sorted(worse, key=lambda x: -x.ratio)


def _geometric(ratios: Sequence[float]) -> float:
    return math.exp(float(np.mean([math.log(ratio) for ratio in ratios])))


def _ratio(cells: Sequence[dict[str, Row]], ours: str, other: str) -> float:
    return _geometric([found[ours]["p99"] / found[other]["p99"] for found in cells])


def _failed(cells: Sequence[dict[str, Row]], name: str) -> float:
    return float(np.mean([found[name]["failed"] / found[name]["requests"] for found in cells]))


def _order(family: str) -> tuple[int, str]:
    return (int(family[1:]) if family[1:].isdigit() else 99, family)


def table(regret: Regret) -> str:
    """As CSV: each policy in each family with each fleet and load."""
    made = ["policy,family,n,load,cells,p99_over_clairvoyant,failed_share,failed_share_beyond_clairvoyant"]
    for policy in regret.policies:
        for family in regret.families:
            for n, load in regret.fleets:
                p99, failed, beyond, cells = regret.standing(policy, family, (n, load))
                if cells:
                    made.append(f"{policy},{family},{n},{load:g},{cells},{p99:.4f},{failed:.6f},{beyond:.6f}")
    return "\n".join(made) + "\n"


def lines(regret: Regret) -> list[str]:
    """The table for a terminal: standings, what was promised, and where we lose."""
    width = max((len(name) for name in regret.policies), default=6)
    made = [
        f"{len(regret.cells)} cells a policy, {regret.seeds} seeds, {regret.missing} rows missing"
        f"{'; ' * bool(regret.partial())}{regret.partial()}; p99 over the clairvoyant's, failures in %, p99 by family:",
        f"{'policy':{width}}     p99  failed  " + "".join(f"{f:>7}" for f in regret.families),
    ]
    for name in regret.policies:
        every = regret.standing(name)
        each = "".join(f"{regret.standing(name, family).p99:7.2f}" for family in regret.families)
        made.append(f"{name:{width}}  {every.p99:6.3f}  {100 * every.failed:6.3f}  {each}")
    scenarios, cases = lost(regret.by_scenario()), lost(regret.by_case())
    return [*made, *promises(regret), *worth(regret), *_lost(scenarios, "scenario"), *_lost(cases, "case")]


def worth(regret: Regret) -> list[str]:
    """What each mechanism is worth, where policies such as "adaptive@hedging=0" ran beside ours: p99 without it over
    p99 with all, and failures beyond, over all cells and by family. Above 1, or above 0, it pays.
    """
    ours = regret.standing(OURS)
    made = []
    for name in regret.policies:
        if not (name.startswith(f"{OURS}@") and name.endswith(OFF)) or not ours.cells:
            continue
        more = 100 * (regret.standing(name).failed - ours.failed)
        each = "".join(f"{regret.standing(name, f).p99 / regret.standing(OURS, f).p99:7.2f}" for f in regret.families)
        made.append(f"  {name[len(OURS) + 1 : -len(OFF)]:12} {1 / regret.over(name):6.3f}  {more:+7.3f}  {each}")
    head = f"  {'':12} {'p99':>6}  {'failed':>7}  " + "".join(f"{f:>7}" for f in regret.families)
    return ["", "Without each mechanism, p99 over that with all, failures beyond in %:", head, *made] if made else []


def promises(regret: Regret) -> list[str]:
    """What the policy is to reach, and what it reaches."""
    if OURS not in regret.policies:
        return []
    made = ["", f"{OURS}, geometric means of p99 over {len(regret.cells)} cells:"]
    rival, limit = regret.over(RIVAL), regret.over(LIMIT)
    made.append(f"  {rival:.3f} of {RIVAL}'s (to be at most {BELOW_RIVAL}: {_said(rival <= BELOW_RIVAL)})")
    for of, found in (("scenario", regret.by_scenario()), ("case", regret.by_case())):
        if found:
            worst = max(x.ratio for x in found)
            within = sum(x.ratio <= OVER_BEST for x in found)
            mean = _geometric([x.ratio for x in found])
            wanted = f" (to be at most {OVER_BEST}: {_said(worst <= OVER_BEST)})" if of == "scenario" else ""
            made.append(
                f"  {mean:.3f} of the best baseline's of each {of}; at most {OVER_BEST} in {within} of {len(found)} "
                f"{of}s, at worst {worst:.3f}{wanted}"
            )
    made.append(f"  {limit:.3f} of the clairvoyant's (to be at most {OVER_LIMIT}: {_said(limit <= OVER_LIMIT)})")
    return made


def _said(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _lost(losses: Sequence[Beside], of: str) -> list[str]:
    made = ["", f"{len(losses)} {of}s are lost to a baseline:"]
    for x in losses:
        made.append(
            f"  {x.where}: p99 {x.ratio:.2f} times that of {x.baseline}, failed {100 * x.failed:.2f} % and "
            f"{100 * x.theirs:.2f} %"
        )
    return made
