"""Which policy recorded a trace, told from its picks: the one that was likeliest to make them in the states it met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from replay.evaluation.attempts import Seen
from replay.evaluation.beside import first_rows, targets
from replay.evaluation.chances import NoDistribution
from replay.policies import POLICIES

LIVE = ("adaptive", "least_request", "peak_ewma", "round_robin", "random")
ENOUGH = 4000  # attempts tell them apart: least request and Peak EWMA differ by 0.1 nats a pick
# Share of picks that no policy explains: exploration, other workers, clocks that are off by a little.
STRAY = 0.02


def likely(seen: Seen, names: Sequence[str] = LIVE, seed: int = 0) -> tuple[str, float]:
    """The likeliest policy, and by how many nats a pick it is ahead of the next."""
    rows = seen.rows[: 2 * ENOUGH]
    some = replace(seen, rows=rows)
    place = {one.slot: i for i, one in enumerate(seen.instances)}
    first = first_rows(some)
    first = first[len(first) // 2 if len(rows) == 2 * ENOUGH else 0 :]  # later picks: the policies have warmed up
    picked = np.array([place[int(s)] for s in rows["slot"][first]])
    scores = []
    for name in names:
        try:
            chances = targets(some, POLICIES[name], seed)[-len(picked) :]
        except (NoDistribution, KeyError):
            continue
        p = chances[np.arange(len(picked)), picked]
        scores.append((float(np.log((1.0 - STRAY) * p + STRAY / len(place)).mean()), name))
    if not scores:
        return "", 0.0
    scores.sort(reverse=True)
    return scores[0][1], scores[0][0] - scores[1][0] if len(scores) > 1 else 0.0
