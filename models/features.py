"""The features: one definition for live, replay and training. A row an endpoint, a column a feature.

Each is compared with the peers or with the endpoint's own past, so that load that rises everywhere moves none of them,
and is centred and scaled by constants of the schema: a scale learned in calm, when failures do not vary at all, would
blow the first failure up. Values are clipped to ±CLIP scales. Shares are pooled: a few attempts borrow PRIOR attempts
at the objective's share. What is unknown is 0, "as usual"; an endpoint with too little to go by is NaN altogether.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from models.columns import Floats, Observed, Peers
from models.past import Trace

CLIP = 6.0
PRIOR = 5.0  # attempts
LEAST_ATTEMPTS = 5  # within 30 s; an endpoint with fewer gets no prediction
POOL = 5.0  # measured latencies at which a ratio counts half; pulls the ratio of a few towards 1


class Feature(NamedTuple):
    """One column: what it is, and the scale that makes a large value about 1 to 3."""

    name: str
    scale: float
    meaning: str


FEATURES = (
    Feature("failures_1s", 0.10, "failure share over 1 s, above the objective's"),
    Feature("failures_5s", 0.10, "failure share over 5 s, above the objective's"),
    Feature("failures_30s", 0.05, "failure share over 30 s, above the objective's"),
    Feature("failures_peers", 0.10, "failure share over 5 s, above the peers' median"),
    Feature("connect_5s", 0.10, "share of attempts that got no connection, over 5 s"),
    Feature("timeouts_5s", 0.10, "share of attempts that timed out, over 5 s, above the peers' median"),
    Feature("late_5s", 0.10, "share of attempts given up late, over 5 s, above the peers' median"),
    Feature("latency_peers_1s", 0.5, "log of latency over 1 s by the peers' median"),
    Feature("latency_peers_5s", 0.5, "log of latency over 5 s by the peers' median"),
    Feature("latency_peers_30s", 0.5, "log of latency over 30 s by the peers' median"),
    Feature("latency_own", 0.5, "log of latency over 5 s by its own over 30 s, less the peers' median of the same"),
    Feature("latency_slope", 0.5, "log of latency over 1 s by its own over 5 s, less the peers' median of the same"),
    Feature("residual_5s", 0.5, "log of latency over 5 s given attempts in flight, above the peers' median"),
    Feature("tail_peers_5s", 0.5, "log of p95 latency over 5 s by the peers' median"),
    Feature("oldest", 1.0, "log of the oldest outstanding attempt's age by 10 typical latencies, where above"),
    Feature("oldest_p99", 0.5, "log of the oldest outstanding attempt's age by its p99 of 30 s, where above"),
    Feature("in_flight_peers", 0.7, "log of attempts in flight by the peers' median"),
    Feature("silence", 1.0, "log of the time with none closed by 10 typical latencies, with attempts in flight"),
    Feature("checks_failed", 1.0, "failing health checks in a row, to 4"),
    Feature("check_latency", 1.0, "log of the health check's time by the peers' median"),
    Feature("load_peers", 0.2, "the endpoint's own report of load, above the peers' median"),
    Feature("cpu_peers", 0.2, "its node's use of CPU, above the peers' median"),
    Feature("memory", 0.2, "its node's use of memory"),
    Feature("youth", 1.0, "1 for an endpoint just configured, falling by 63 % in 30 s"),
    Feature("streak", 2.0, "failures since the last success, to 10"),
    Feature("level", 0.5, "log of latency given attempts in flight by the peers', by a line through its last 25 s"),
    Feature("rise", 0.2, "what that line rises in 10 s"),
    Feature("rise_sure", 3.0, "the slope of that line by its standard error"),
    Feature("ahead", 0.5, "where that line will be in 15 s"),
    Feature("failing", 1.0, "failure share above the peers' by 2 %, by a line through its last 25 s"),
    Feature("failing_rise", 0.5, "what that line rises in 10 s"),
    Feature("tail", 0.5, "log of p95 latency by the peers', by a line through its last 25 s"),
    Feature("tail_rise", 0.3, "what that line rises in 10 s"),
    Feature("peak_5s", 1.0, "log of the longest wait by 10 typical latencies, above the peers', fading in 5 s"),
    Feature("peak_30s", 1.0, "the same, fading in 30 s"),
    Feature("failure_nats", 8.0, "cumulative sum against the failure share that its peers show, nats"),
    Feature("slow_nats", 8.0, "cumulative sum against its usual latency beside its peers, nats"),
)
NAMES = tuple(feature.name for feature in FEATURES)
COUNT = len(FEATURES)
SCHEMA = hashlib.sha256(repr((FEATURES, CLIP, PRIOR, POOL, LEAST_ATTEMPTS)).encode()).hexdigest()[:12]
_SCALES = np.array([[feature.scale] for feature in FEATURES])


def build(seen: Observed, past: Trace, peers: Peers, errors: Floats) -> Floats:
    """Features (slots, COUNT) in scales of the schema. `errors` (slots,) is the objective's share of failures."""
    raw = np.array([*_raw(seen, past, peers, errors), *_of_the_past(past)])
    raw[np.isnan(raw)] = 0.0
    raw /= _SCALES
    np.minimum(np.maximum(raw, -CLIP, out=raw), CLIP, out=raw)
    raw[:, (seen.attempts[2] < LEAST_ATTEMPTS) | peers.nobody] = np.nan
    return raw.T


def _raw(seen: Observed, past: Trace, peers: Peers, errors: Floats) -> list[Floats]:
    """The columns before scaling, one row a feature; NaN where unknown."""
    attempts = seen.attempts + PRIOR
    share = (seen.failures + PRIOR * errors) / attempts
    tried = share[1].copy()
    tried[seen.attempts[1] <= 0] = np.nan
    pooled = seen.measured / (seen.measured + POOL)
    age = np.fmax(seen.oldest, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(seen.latency)
        p99 = np.log(np.maximum(age / seen.p99, 1.0))
        own, slope = (logs[1] - logs[2]) * pooled[1], (logs[0] - logs[1]) * pooled[0]
        tail = np.log(seen.p95)
        waits = 10 * np.maximum(seen.typical, 0.005)
        oldest = np.log(np.maximum(age / waits, 1.0))
        silence = np.log(np.maximum(seen.silence / waits, 1.0))
        silence[seen.in_flight <= 0] = 0.0
        checks = np.log(np.maximum(seen.check_seconds, 1e-4))
        mine = np.array(
            [
                tried, seen.timeouts[1] / attempts[1], seen.late[1] / attempts[1], *logs, own, slope, tail,
                np.log1p(seen.in_flight), checks, seen.load, seen.cpu,
            ]
        )  # fmt: skip
        above = mine - peers.others(mine)
    # What every endpoint's clients do alike is none's fault; alone, it is.
    alone = np.isnan(above[:3])
    if np.count_nonzero(alone):
        above[:3] = np.where(alone, mine[:3] - errors * np.array([[1.0], [0.0], [0.0]]), above[:3])
    above[3:6] *= pooled
    above[8] *= pooled[1]
    return [
        *(share - errors), above[0], seen.connect[1] / attempts[1], *above[1:8], past.residual * pooled[1],
        above[8], oldest, p99, above[9], silence, np.minimum(seen.checks_failed, 4).astype(np.float64),
        *above[10:], seen.memory, np.exp(-seen.age / 30.0), np.minimum(seen.streak, 10).astype(np.float64),
    ]  # fmt: skip


def _of_the_past(past: Trace) -> list[Floats]:
    """The columns that `models.past` keeps, one row a feature."""
    return [
        past.level,
        past.rise,
        past.sure,
        past.level + 1.5 * past.rise,
        past.failing,
        past.failing_rise,
        past.tail,
        past.tail_rise,
        past.peak[0],
        past.peak[1],
        past.failure_nats,
        past.slow_nats,
    ]
