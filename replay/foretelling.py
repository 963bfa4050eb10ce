"""How good predictions were on episodes that nothing was tuned on, beside the rules that they have to beat.

Average precision is the area under precision and recall. Intervals draw whole episodes anew (cluster bootstrap, 90 %),
for the rows of one fleet are no independent witnesses. Where the model abstains, the rule speaks, as it does live.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from models import detectors
from models.columns import Bools, Floats
from models.detectors import lorden
from models.features import NAMES
from models.predictor import AHEAD
from replay.asking import Table
from replay.episodes import ABRUPT, FORECASTABLE, Episode, Trouble

DRAWS = 200
LEAD = 10.0  # seconds before the first breach
PRECISION = 0.9
CALM, AGO = 30.0, 60.0  # seconds without a breach that part two; and that a forecast may come before one
LOOKS = 2  # at least so many make a forecast
LEVELS = np.arange(0.05, 1.0, 0.01)  # of probability, at which an alarm may be raised
LevelOf = Callable[[Sequence[Episode]], float]
# What an operator could alert on by itself.
RULES = (
    "failures_1s", "failures_5s", "failures_30s", "latency_peers_1s", "latency_peers_5s", "tail_peers_5s", "oldest",
    "streak", "checks_failed", "in_flight_peers", "failure_nats", "slow_nats",
)  # fmt: skip


class Figure(NamedTuple):
    """A value with its 90 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def average_precision(labels: Floats, scores: Floats) -> float:
    """Area under precision and recall, ties together; NaN without a positive."""
    order = np.argsort(-scores, kind="stable")
    hits, ranked = labels[order], scores[order]
    if hits.sum() == 0:
        return math.nan
    last = np.append(np.diff(ranked) != 0, True)
    found = np.cumsum(hits)[last]
    precision = found / (np.flatnonzero(last) + 1)
    return float((np.diff(np.append(0.0, found)) * precision).sum() / hits.sum())


def columns(episodes: Sequence[Episode], horizon: str) -> list[tuple[Floats, dict[str, Floats]]]:
    """Labels of each episode, and what the model and every rule said of the same rows."""
    found = []
    for e in episodes:
        label = getattr(e.asked, horizon)
        known = ~np.isnan(label)
        said = e.asked.said[:, 0 if horizon == "soon" else 1]
        scores = {"model": np.where(np.isnan(said), e.asked.rule, said)[known], "suspicion": e.asked.rule[known]}
        scores |= {name: e.asked.features[known, NAMES.index(name)].astype(np.float64) for name in RULES}
        found.append((label[known], scores))
    return found


def precisions(episodes: Sequence[Episode], horizon: str, rng: np.random.Generator) -> dict[str, Figure]:
    """Average precision of the model ("model"), of every rule, and by how much it beats the best one ("above")."""
    parts = columns(episodes, horizon)
    names = list(parts[0][1])

    def one(chosen: Sequence[int]) -> dict[str, float]:
        labels = np.concatenate([parts[i][0] for i in chosen])
        return {n: average_precision(labels, np.concatenate([parts[i][1][n] for i in chosen])) for n in names}

    whole = one(range(len(parts)))
    best = max((n for n in names if n != "model"), key=lambda n: whole[n])
    few = ["model", best]
    drawn: list[tuple[float, float]] = []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(parts), len(parts)).tolist()
        labels = np.concatenate([parts[i][0] for i in chosen])
        a, b = (average_precision(labels, np.concatenate([parts[i][1][n] for i in chosen])) for n in few)
        if not math.isnan(a):
            drawn.append((a, b))
    table = np.array(drawn)
    found = {n: Figure(whole[n], math.nan, math.nan) for n in names}
    found["model"] = _figure(whole["model"], table[:, 0])
    found[best] = _figure(whole[best], table[:, 1])
    found["above"] = _figure(whole["model"] - whole[best], table[:, 0] - table[:, 1])
    return found


def _figure(value: float, drawn: Floats) -> Figure:
    low, high = np.quantile(drawn, [0.05, 0.95])
    return Figure(value, float(low), float(high))


class Alarm(NamedTuple):
    """Forecasts of one endpoint of which none came later than AHEAD after another: an operator is told once."""

    begun: float  # the first of them
    came: bool  # it breached within AHEAD of one of them


def alarms(e: Episode, sure: Bools) -> list[Alarm]:
    """What these forecasts (rows) would tell an operator, where it can be told whether it came true.

    One that begins when its endpoint breaches, or CALM seconds after, foretells nothing and is left out: it would make
    a model look precise that only repeats what everybody sees. So is a single look, which is no forecast.
    """
    asked, found = e.asked, []
    for slot in np.unique(asked.slot[sure]):
        mine = asked.slot == slot
        at, here = asked.at[mine], np.flatnonzero(sure[mine])
        breaching, label = at[asked.soon[mine] == 1], asked.ahead[mine]
        for looks in np.split(here, np.flatnonzero(np.diff(at[here]) > AHEAD) + 1):
            begun = float(at[looks[0]])
            late = ((breaching <= begun) & (breaching >= begun - CALM)).any()
            if len(looks) >= LOOKS and not late and not np.isnan(label[looks]).all():
                found.append(Alarm(begun, bool((label[looks] == 1).any())))
    return found


def precise(episodes: Sequence[Episode], level: float) -> tuple[int, int]:
    """Alarms of the long horizon at this level: that came true, and all."""
    came = [alarm.came for e in episodes for alarm in alarms(e, e.asked.said[:, 1] >= level)]
    return sum(came), len(came)


def threshold(episodes: Sequence[Episode]) -> float:
    """The lowest of LEVELS at which PRECISION of the alarms come true; above 1 where there is none."""
    for level in LEVELS:
        right, said = precise(episodes, level)
        if said and right >= PRECISION * said:
            return float(level)
    return 2.0


def threshold_of_looks(episodes: Sequence[Episode]) -> float:
    """The lowest score of the long horizon from which on PRECISION of the rows breach, as PR-AUC counts them; above 1
    where none is. Most rows that a breach follows are of endpoints that breach already: they pay for false alarms.
    """
    label = np.concatenate([e.asked.ahead for e in episodes])
    said = np.concatenate([e.asked.said[:, 1] for e in episodes])
    known = ~np.isnan(label) & ~np.isnan(said)
    order = np.argsort(-said[known])
    ranked = said[known][order]
    precision = np.cumsum(label[known][order]) / np.arange(1, known.sum() + 1)
    last = np.append(np.diff(ranked) != 0, True)  # rows of one score are in, or out, together
    good = np.flatnonzero((precision >= PRECISION) & last)
    return float(ranked[good[-1]]) if len(good) else 2.0


class Foreseen(NamedTuple):
    """Of the episodes' ill endpoints that breached: which were foreseen LEAD seconds before, and how precisely."""

    kinds: list[str]  # one an endpoint
    hits: list[bool]
    could: list[bool]  # it had been ill for LEAD + 5 seconds
    right: int  # alarms that came true
    said: int  # alarms

    def share(self, rng: np.random.Generator) -> Figure:
        """Of all of them."""
        hits = np.array(self.hits, dtype=np.float64)
        if not len(hits):
            return Figure(math.nan, math.nan, math.nan)
        return _figure(float(hits.mean()), hits[rng.integers(0, len(hits), (DRAWS, len(hits)))].mean(axis=1))

    def of_possible(self) -> tuple[int, int]:
        """Foreseen, and how many, of those that could be."""
        return sum(h for h, c in zip(self.hits, self.could, strict=True) if c), sum(self.could)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """The same of all of them, by kind of fault."""
        found: dict[str, tuple[int, int]] = {}
        for kind, hit in zip(self.kinds, self.hits, strict=True):
            seen, count = found.get(kind, (0, 0))
            found[kind] = seen + hit, count + 1
        return found

    @property
    def precision(self) -> float:
        """Of its alarms, over all fleets."""
        return self.right / self.said if self.said else math.nan


def halves(episodes: Sequence[Episode]) -> tuple[list[Episode], list[Episode]]:
    """Two halves, alike in kinds and in who balances: who does alternates with the seed, so that seeds go by twos."""
    parts = [[e for e in episodes if e.seed // 2 % 2 == part] for part in (0, 1)]
    return parts[0], parts[1]


def crossed(episodes: Sequence[Episode], level_of: LevelOf = threshold) -> Foreseen:
    """Each half by the threshold that the other one sets."""
    one, other = halves(episodes)
    a, b = foreseen(one, other, level_of), foreseen(other, one, level_of)
    return Foreseen(a.kinds + b.kinds, a.hits + b.hits, a.could + b.could, a.right + b.right, a.said + b.said)


def foreseen(tuning: Sequence[Episode], episodes: Sequence[Episode], level_of: LevelOf = threshold) -> Foreseen:
    """The threshold is taken from `tuning`; precision and share from `episodes`."""
    level = level_of(tuning)
    kinds: list[str] = []
    hits: list[bool] = []
    could: list[bool] = []
    right = said_all = 0
    for e in episodes:
        sure = e.asked.said[:, 1] >= level
        came = [alarm.came for alarm in alarms(e, sure)]
        right, said_all = right + sum(came), said_all + len(came)
        for trouble in e.troubles:
            breach = breached(e, trouble)
            if trouble.kind in FORECASTABLE and not math.isnan(breach):
                kinds.append(trouble.kind)
                hits.append(heralded(e, trouble, breach, sure))
                could.append(breach - trouble.start >= LEAD + 5.0)
    return Foreseen(kinds, hits, could, right, said_all)


def breached(e: Episode, trouble: Trouble) -> float:
    """When the ill endpoint first breached; NaN where it did not."""
    mine = (e.asked.slot == trouble.slot) & (e.asked.at >= trouble.start) & (e.asked.at <= trouble.end)
    breach = e.asked.at[mine & (e.asked.soon == 1)]
    return float(breach[0]) if len(breach) else math.nan


def heralded(e: Episode, trouble: Trouble, breach: float, sure: Bools) -> bool:
    """Whether at least LOOKS of these forecasts (rows) are of this trouble, came LEAD seconds before its breach, and no
    more than AHEAD, of which they speak.
    """
    mine = (e.asked.slot == trouble.slot) & (e.asked.at >= trouble.start) & (e.asked.at > breach - AHEAD)
    return int((mine & sure & (e.asked.at <= breach + 1.0 - LEAD)).sum()) >= LOOKS


def wrong(episodes: Sequence[Episode], kind: str) -> int:
    """Alarms that did not come true in fleets of this kind, at the thresholds of `crossed`."""
    parts = halves(episodes)
    found = 0
    for part, level in zip(parts, [threshold(part) for part in reversed(parts)], strict=True):
        right, said = precise([e for e in part if e.kind == kind], level)
        found += said - right
    return found


def calibration_error(episodes: Sequence[Episode], horizon: str, bins: int = 10) -> float:
    """Mean distance of probability and share that breached, over equal bins of probability, by their rows."""
    label = np.concatenate([getattr(e.asked, horizon) for e in episodes])
    said = np.concatenate([e.asked.said[:, 0 if horizon == "soon" else 1] for e in episodes])
    known = ~np.isnan(label) & ~np.isnan(said)
    label, said = label[known], said[known]
    place = np.minimum((said * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    gaps = np.abs(np.bincount(place, label, bins) - np.bincount(place, said, bins))
    return float(gaps.sum() / max(count.sum(), 1))


def delays(episodes: Sequence[Episode]) -> dict[str, tuple[float, int, int]]:
    """By kind of abrupt or gray trouble that single attempts show: the median of the detectors' delay by Lorden's
    bound, in attempts sent, how many were detected, and how many there were. The bound is that of one false alarm in
    ALARM_HOURS instance-hours at the endpoint's own rate.
    """
    found: dict[str, list[float]] = {}
    for e in episodes:
        for trouble, attempts in zip(e.troubles, e.detected, strict=True):
            if trouble.kind in ABRUPT and trouble.divergence > 0:
                rate = e.requests / max(e.hours * 3600.0, 1.0)
                bound = lorden(detectors.threshold(rate), trouble.divergence)
                found.setdefault(trouble.kind, []).append(attempts / max(bound, 1.0))
    table = {}
    for kind, values in sorted(found.items()):
        seen = [v for v in values if not math.isnan(v)]
        table[kind] = (float(np.median(seen)) if seen else math.nan, len(seen), len(values))
    return table


def leads(asked: Table, said: Floats, level: float) -> Floats:
    """Seconds from the first of LOOKS forecasts at `level` or above to the breach that it announced, a value for each
    breach that came after CALM seconds without one; 0 where none announced it within AGO seconds.
    """
    found: list[float] = []
    for slot in np.unique(asked.slot):
        mine = asked.slot == slot
        at, sure = asked.at[mine], said[mine] >= level
        breaches = at[asked.soon[mine] == 1]
        last = -math.inf
        for breach in breaches.tolist():
            if breach - last > CALM:
                early = at[sure & (at < breach) & (at >= max(breach - AGO, last))]
                found.append(float(breach - early[0]) if len(early) >= LOOKS else 0.0)
            last = breach
    return np.array(found)
