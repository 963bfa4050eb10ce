"""When logged picks cannot answer for another policy: reasons to refuse, each one sentence with its figures.

An importance weight repairs how often each pick was made, nothing else. It needs a chance for every pick that the
target would make, enough decisions that look like the target's, and queues that the target would leave as they were.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replay.evaluation.estimators import effective

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_EFFECTIVE = 0.01  # share of the decisions
CERTAIN = 1.0 - 1e-6  # a propensity from here on left no choice
CERTAIN_SHARE = 0.99  # of decisions without a choice: nothing is left to learn from
MISSING_SHARE = 0.01  # of decisions without a propensity
# Of the target's probability on picks that the recorder never makes: each per cent may hide a pick of any cost.
UNCOVERED = 0.05
NEVER = 1e-4  # a logged probability below this is none, within a recording of some hours
# An instance that would carry this many times the most that it carried of a hundred decisions was never seen so.
LOAD_FACTOR = 1.5
LOAD_DECISIONS = 100


def refusals(
    propensity: Floats,
    target: Floats,
    *,
    slot: Ints | None = None,
    target_all: Floats | None = None,
    logged_all: Floats | None = None,
) -> list[str]:
    """Why a target policy cannot be judged from these picks; empty where it can.

    `propensity`, `target` (n,): of the logged pick under either policy. `slot` (n,) the picks and `target_all`,
    `logged_all` (n, instances) all probabilities, where they are known.
    """
    n = len(propensity)
    if not n:
        return ["no decisions were recorded"]
    valid = np.isfinite(propensity) & (propensity > 0.0)
    missing = n - int(valid.sum())
    if missing > MISSING_SHARE * n:
        return [
            f"{missing} of {n} decisions ({missing / n:.1%}) carry no propensity: how likely each pick was is unknown"
        ]
    certain = float((propensity[valid] >= CERTAIN).mean())
    if certain >= CERTAIN_SHARE:
        return [
            f"the recording policy left nothing to chance in {certain:.1%} of {n} decisions (propensity 1): record "
            "with a share of random picks"
        ]
    weights = target[valid] / propensity[valid]
    found = []
    share = effective(weights) / n
    if share < LEAST_EFFECTIVE:
        found.append(
            f"{n} decisions are worth {effective(weights):.0f} of the target policy's own ({share:.2%}; at least "
            f"{LEAST_EFFECTIVE:.0%} is needed): it picks what was hardly ever picked"
        )
    found += _support(weights, target_all, logged_all)
    if slot is not None and target_all is not None:
        found += _loads(slot, target_all)
    return found


def _support(weights: Floats, target_all: Floats | None, logged_all: Floats | None) -> list[str]:
    """Whether the target's picks had a chance. Without the recorder's probabilities by the mean weight, which is 1."""
    if target_all is not None and logged_all is not None:
        outside = float((target_all * (logged_all < NEVER)).sum(axis=1).mean())
        if outside > UNCOVERED:
            return [
                f"{outside:.1%} of the target policy's picks go where the recording policy sent at most one request in "
                f"{1 / NEVER:.0f}"
            ]
        return []
    mean = float(weights.mean())
    error = float(weights.std()) / max(1.0, len(weights) - 1.0) ** 0.5
    if mean + 3.0 * error < 1.0 - UNCOVERED:
        return [
            f"the weights of the picks average {mean:.2f} ± {error:.2f} where full support gives 1: about "
            f"{1.0 - mean:.0%} of the target policy's picks had no chance in the recording"
        ]
    if mean - 3.0 * error > 1.0 + UNCOVERED:
        return [
            f"the weights of the picks average {mean:.2f} ± {error:.2f}, which true propensities cannot: they do not "
            "belong to these picks"
        ]
    return []


def _loads(slot: Ints, target_all: Floats) -> list[str]:
    """Whether the target would load an instance as it was never loaded: then its answers were never seen either."""
    n, instances = target_all.shape
    width = min(LOAD_DECISIONS, n)
    found = []
    for i in range(instances):
        mine = np.cumsum(np.concatenate([[0], slot == i]))
        most = float((mine[width:] - mine[:-width]).max()) / width
        share = float(target_all[:, i].mean())
        if share > LOAD_FACTOR * max(most, 1.0 / width):
            found.append(
                f"the target policy would send {share:.0%} of all requests to instance {i}, which never got more than "
                f"{most:.0%} of {width} in a row: how it answers under such a load was not recorded"
            )
    return found
