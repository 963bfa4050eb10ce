"""What can be foreseen of creeping errors at all: an oracle that knows every rate, and the shape of what may come.

It lacks what nobody can know: whether errors have begun to creep at this endpoint, and since when. It weighs each
possible beginning by the likelihood of the attempts and failures that were counted since, and by the chance that errors
which began then breach within the horizon. With the true model and the true prior no forecast from these counts is
better (Bayes), so that what it misses is missing in the counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.columns import Floats
from models.labels import ABOVE, LEAST_FAILURES
from models.predictor import AHEAD
from replay.asking import EVERY, SOON
from replay.episodes import FORECASTABLE, Episode, fleet
from replay.foretelling import LEAD, LEVELS, PRECISION, alarms, breached, heralded
from replay.scenario import Fault

KIND = "creeping"
BEGINNINGS = 1.0  # seconds between two beginnings that are weighed
OBJECTIVE = 0.05  # share of failures; the default, which the fleets have
NEVER = 1e-6  # share of failures of a fleet without errors


def foreseen(episodes: Sequence[Episode], wrong: int, held_out: bool = True) -> tuple[int, int]:
    """Of the creeping errors that breached, how many it foresees LEAD seconds ahead, and how many there were, when at
    most `wrong` of its alarms in these fleets do not come true.
    """
    mine = [(e, probabilities(e, held_out)) for e in episodes if e.kind == KIND]
    best, count = 0, 0
    for level in LEVELS:
        came: list[bool] = []
        hits: list[bool] = []
        for e, said in mine:
            came += [alarm.came for alarm in alarms(e, said >= level)]
            breaches = [(trouble, breached(e, trouble)) for trouble in e.troubles]
            hits += [heralded(e, trouble, at, said >= level) for trouble, at in breaches if not math.isnan(at)]
        count = len(hits)
        if came.count(False) <= wrong:
            best = max(best, sum(hits))
    return best, count


def bound(episodes: Sequence[Episode], held_out: bool = True) -> tuple[int, int]:
    """Of all that breached, how many can be foreseen at most at PRECISION, and how many there were: creeping errors as
    by `foreseen`, which may spend all the false alarms there are, and every other kind wherever there was the time.
    """
    breaches = [(trouble, breached(e, trouble)) for e in episodes for trouble in e.troubles]
    breaches = [(trouble, at) for trouble, at in breaches if trouble.kind in FORECASTABLE and not math.isnan(at)]
    in_time = sum(trouble.kind != KIND and at - trouble.start >= LEAD for trouble, at in breaches)
    false = len(breaches) * (1 / PRECISION - 1)  # alarms, if every breach had a true one
    creeping, _ = foreseen(episodes, math.floor(false + 1e-9), held_out)
    return in_time + creeping, len(breaches)


def probabilities(e: Episode, held_out: bool) -> Floats:
    """The probability of a breach within the horizon, of each row of what was asked."""
    scenario = fleet(e.kind, e.seed, held_out)
    faults = scenario.instances[e.troubles[0].slot].faults
    ramp = next(f for f in faults if f.kind == "ramp_errors")
    usual = max([f.values["p"] for f in faults if f.kind == "errors"], default=NEVER)
    counts = np.diff(e.counted, axis=0, prepend=0.0)  # (looks, 2, slots)
    attempts, failures = counts[:, 0], counts[:, 1]
    at = EVERY * (1 + np.arange(len(counts)))
    begun = np.arange(0.0, scenario.seconds - (ramp.end - ramp.start), BEGINNINGS)
    share = _shares(at[None] - EVERY / 2 - begun[:, None], ramp, usual)  # (beginnings, looks)
    gain = (
        failures * np.log(share / usual)[..., None]
        + (attempts - failures) * np.log((1 - share) / (1 - usual))[..., None]
    )
    likely = np.cumsum(gain, axis=1)  # (beginnings, looks, slots)
    breaches = _breaches(at[None] - begun[:, None], ramp, usual, SOON * attempts[:, e.troubles[0].slot].mean() / EVERY)
    most = np.maximum(likely.max(axis=0), 0.0)
    weight = np.exp(likely - most)
    ill = len(e.troubles) / attempts.shape[1]
    one = ill / len(begun)
    found = one * (weight * breaches[..., None]).sum(axis=0) / ((1 - ill) * np.exp(-most) + one * weight.sum(axis=0))
    look = np.clip(np.round(e.asked.at / EVERY).astype(int) - 1, 0, len(at) - 1)
    rows: Floats = found[look, e.asked.slot.astype(int)]
    return rows


def _shares(since: Floats, ramp: Fault, usual: float) -> Floats:
    """The share that fails so long after the beginning, of whatever shape `since` has."""
    part = since / (ramp.end - ramp.start)
    found: Floats = np.where((part > 0) & (part <= 1), np.maximum(usual, ramp.values["p"] * part), usual)
    return found


def _breaches(since: Floats, ramp: Fault, usual: float, attempts: float) -> Floats:
    """The chance that it breaches within the horizon, so long after the beginning, at so many attempts in a look."""
    n = max(round(attempts), 3)
    least = max(LEAST_FAILURES, math.floor(n * OBJECTIVE + ABOVE * math.sqrt(n * OBJECTIVE * (1 - OBJECTIVE))) + 1)
    grid = np.linspace(0.0, ramp.values["p"], 60)
    few = np.array([math.comb(n, k) * grid**k * (1 - grid) ** (n - k) for k in range(min(least, n + 1))]).sum(axis=0)
    windows = [_shares(since + t, ramp, usual) for t in np.arange(SOON / 2, AHEAD, SOON).tolist()]
    spared = np.prod([np.interp(share, grid, few) for share in windows], axis=0)
    return np.where(since >= 0, 1 - spared, 0.0)
