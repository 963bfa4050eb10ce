"""What instances of one cluster have in common: the shape of service times, their level, the number of servers.

Instances are usually copies of each other, and a hundred of them say more of that than each of itself; but what the
data contradict is not pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import chi2, ks_2samp

from replay.evaluation.attempts import Floats
from replay.evaluation.queueing import TEMPER, Slots
from replay.evaluation.segments import Segment
from replay.evaluation.services import Served

DOUBT = 0.01  # instances are pooled unless chance would set them so far apart less often than this
USUAL = 0.4  # of the longest time at one level: at any level held so long an instance may be well
STEP = 3.0  # standard errors: stretches nearer than this to an instance's own level are at that level


def reference(one: Served, typical: float | None = None) -> tuple[float, float]:
    """An instance's own level, with its standard error: the mean of the stretches that agree for the longest time.

    With `typical`, the level of the others: of those that agree for a USUAL share of the time, the nearest to it.
    """

    def near(value: float) -> list[Segment]:
        return [s for s in one.levels if abs(s.value - value) <= STEP * s.error]

    def seconds(value: float) -> float:
        return sum((s.end - s.start) * min(1.0, s.count / 20) for s in near(value))

    values = [s.value for s in one.levels]
    mean = max(values, key=seconds)
    if typical is not None:
        long = [v for v in values if seconds(v) >= USUAL * seconds(mean)]
        mean = min(long, key=lambda v: abs(v - typical))
    for _ in range(3):
        agreeing = near(mean)
        if not agreeing:
            break
        mean = float(np.average([s.value for s in agreeing], weights=[s.count for s in agreeing]))
    count = sum(s.count for s in near(mean))
    return mean, one.spread / np.sqrt(max(1, count))


def pooled(means: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Means with their errors, each drawn towards the common one as far as the evidence supports; shapes (n,)."""
    if len(means) < 2:
        return means, errors
    weight = 1.0 / errors**2
    common = float(np.average(means, weights=weight))
    excess = float((weight * (means - common) ** 2).sum())
    if excess <= chi2.isf(DOUBT, len(means) - 1):
        return np.full(len(means), common), np.full(len(means), 1.0 / np.sqrt(weight.sum()))
    # DerSimonian & Laird's variance between the instances, and the mean of each given its own data and that.
    between = (excess - (len(means) - 1)) / (weight.sum() - (weight**2).sum() / weight.sum())
    own = between / (between + errors**2)
    return own * means + (1.0 - own) * common, np.sqrt(own) * errors


def shapes(found: Mapping[int, Served]) -> dict[int, int]:
    """For each instance, whose residuals stand for its own: -1 for those of all that look alike, or itself."""
    every = np.concatenate([one.residual[~one.bound] for one in found.values()])
    out = {}
    for index, one in found.items():
        mine = one.residual[~one.bound]
        alike = len(mine) < 50 or len(found) == 1 or ks_2samp(mine, every).pvalue > DOUBT / len(found)
        out[index] = -1 if alike else index
    return out


def servers(found: Mapping[int, Served]) -> dict[int, tuple[tuple[int, ...], tuple[float, ...]]]:
    """Numbers of servers of each instance with their chances: of all together, where one number suits everybody."""
    known = {i: one.slots for i, one in found.items() if one.slots.bounded}
    own = {i: (one.slots.candidates, one.slots.chance) for i, one in found.items()}
    if not known:
        return own
    low, high = max(s.low for s in known.values()), min(s.high for s in known.values())
    if low > high:  # they differ; one that never waited has at least as many as it was seen with, or as the others
        usual = int(np.median([s.best for s in known.values()]))
        return {i: own[i] if i in known else ((max(usual, found[i].slots.low),), (1.0,)) for i in found}
    total = _together(list(known.values()), low, high)
    numbers = tuple(range(low, high + 1))
    return dict.fromkeys(found, (numbers, total))


def _together(known: Sequence[Slots], low: int, high: int) -> tuple[float, ...]:
    log = np.zeros(high - low + 1)
    for slots in known:
        chance = dict(zip(slots.candidates, slots.chance, strict=True))
        log += np.log([max(1e-300, chance.get(c, 1e-300)) for c in range(low, high + 1)])
    made = np.exp((log - log.max()) * TEMPER)
    return tuple(map(float, made / made.sum()))
