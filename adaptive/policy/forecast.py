"""A forecast in words: what is coming, how sure that is, and the signs that speak for it."""

from __future__ import annotations

import numpy as np

from models.features import FEATURES
from models.learner import Learner

SIGNS = 3  # most that are named
LEAST = 0.3  # nats that a sign must add to be named


def sentence(learner: Learner, slot: int, probability: float, foreseen: bool) -> str:
    """For an endpoint that is lowered because of a prediction; `foreseen`: it is that of the long horizon."""
    head = learner.ahead if foreseen else learner.soon
    seconds = learner.foresight.horizon if foreseen else learner.ledger.horizon
    text = f"predicted to breach its objective within {seconds:.0f} s, with probability {probability:.2f}"
    if slot >= len(learner.features):
        return text
    row = learner.features[slot : slot + 1]
    parts = head.predictor.contributions(row)[0]
    order = [int(i) for i in np.argsort(-parts)[:SIGNS] if parts[i] >= LEAST and np.isfinite(parts[i])]
    signs = [f"{FEATURES[i].meaning} is {row[0, i] * FEATURES[i].scale:+.2f}" for i in order]
    return f"{text}: {'; '.join(signs)}" if signs else text
