"""A forecast in words: what is coming, how sure that is, and the signs that speak for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, sinh

import numpy as np

from models.features import FEATURES
from models.learner import Learner
from models.past import BELOW

SIGNS = 3  # most that are named
LEAST = 0.3  # nats that a sign must add to be named

Phrase = Callable[[float], str]  # of a feature's own value, unscaled


def _share(what: str, than: str) -> Phrase:
    def phrase(value: float) -> str:
        return f"{what} {abs(value):.1%} {'below' if value < 0.0 else 'above'} {than}"

    return phrase


def _times(what: str, than: str) -> Phrase:
    """Of a logarithm."""

    def phrase(value: float) -> str:
        return f"{what} {exp(value):.1f} times {than}"

    return phrase


def _grows(what: str) -> Phrase:
    """Of what a logarithm gains in 10 s."""

    def phrase(value: float) -> str:
        return f"{what} {'falls' if value < 0.0 else 'grows'} by {abs(exp(value) - 1.0):.0%} in 10 s"

    return phrase


def _plain(text: str) -> Phrase:
    return text.format


PHRASES: Mapping[str, Phrase] = {
    "failures_1s": _share("failures of the last second", "the objective"),
    "failures_5s": _share("failures of the last 5 s", "the objective"),
    "failures_30s": _share("failures of the last 30 s", "the objective"),
    "failures_peers": _share("failures of the last 5 s", "its peers'"),
    "connect_5s": _plain("{:.0%} of its attempts got no connection in 5 s"),
    "timeouts_5s": _share("time-outs of the last 5 s", "its peers'"),
    "late_5s": _share("attempts given up in the last 5 s", "its peers'"),
    "latency_peers_1s": _times("latency of the last second", "its peers'"),
    "latency_peers_5s": _times("latency of the last 5 s", "its peers'"),
    "latency_peers_30s": _times("latency of the last 30 s", "its peers'"),
    "latency_own": _times("latency of the last 5 s", "its own of 30 s, its peers' change taken off"),
    "latency_slope": _times("latency of the last second", "its own of 5 s, its peers' change taken off"),
    "residual_5s": _times("latency of the last 5 s", "its peers' with as many in flight"),
    "tail_peers_5s": _times("p95 latency of the last 5 s", "its peers'"),
    "oldest": _times("its oldest attempt waits", "ten typical latencies"),
    "oldest_p99": _times("its oldest attempt waits", "its p99"),
    "in_flight_peers": _times("attempts in flight", "its peers'"),
    "silence": _times("without an answer for", "ten typical latencies"),
    "checks_failed": _plain("{:.0f} health checks failed in a row"),
    "check_latency": _times("health checks take", "its peers'"),
    "load_peers": _share("its own report of load", "its peers'"),
    "cpu_peers": _share("CPU of its node", "its peers'"),
    "memory": _plain("{:.0%} of its node's memory is in use"),
    "youth": lambda value: "it was configured only just now" if value > 0.2 else "it has been here for long",
    "streak": _plain("{:.0f} failures since its last success"),
    "level": _times("latency for its load", "its peers', by the line through its last 25 s"),
    "rise": _grows("latency for its load, beside its peers',"),
    "rise_sure": _plain("its latency beside its peers' rises, {:.1f} standard errors sure"),
    "ahead": _times("on its line, latency will in 15 s be", "its peers'"),
    "failing": lambda value: _share("failures", "its peers', by the line through its last 25 s")(sinh(value) * BELOW),
    "failing_rise": lambda value: f"the share that fails beside its peers' {'falls' if value < 0.0 else 'grows'}",
    "tail": _times("p95 latency", "its peers', by the line through its last 25 s"),
    "tail_rise": _grows("p95 latency beside its peers'"),
    "peak_5s": _times("longest wait of the last seconds", "its peers' beyond ten typical latencies"),
    "peak_30s": _times("longest wait of the last half minute", "its peers' beyond ten typical latencies"),
    "failure_nats": _plain("more failures than its peers show, by {:.1f} nats of evidence"),
    "slow_nats": _plain("slower than usual beside its peers, by {:.1f} nats of evidence"),
}


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
    signs = [PHRASES[FEATURES[i].name](float(row[0, i] * FEATURES[i].scale)) for i in order]
    return f"{text}: {'; '.join(signs)}" if signs else text
