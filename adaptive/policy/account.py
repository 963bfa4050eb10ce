"""What an operator is told: the state of every endpoint, and why one is as it is. Plain values, ready for JSON."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from adaptive.policy import rule
from adaptive.policy.steering import ClusterState, Steering
from adaptive.stats import EDGES, MICROSECONDS, Stats
from adaptive.types import Cause, Health, Member
from models.columns import WINDOWS, Bools, Floats, Observed
from models.features import FEATURES
from models.learner import Learner

REFUSED_FOR = 10.0  # seconds for which a refusal of the guard is worth telling


class Scene(NamedTuple):
    """Everything there is to tell of, at one moment."""

    at: float
    stats: Stats
    steering: Steering
    seen: Observed
    judged: rule.Judgement
    probability: Floats
    learner: Learner | None
    blind: str
    foreseen: Bools  # the probability is that of the long horizon


def report(scene: Scene) -> dict[str, Any]:
    """Every cluster and endpoint. Latency is seconds, `since` seconds ago; histogram counts are cumulative, as
    Prometheus wants them, with the bounds beside.
    """
    quantiles = {q: scene.stats.quantiles(q, 0) for q in (0.5, 0.95, 0.99)}
    quantiles_long = {q: scene.stats.quantiles(q, 1) for q in (0.5, 0.95, 0.99)}
    clusters = []
    for state in scene.steering.clusters:
        entry = _cluster(scene, state)
        entry["endpoints"] = [_endpoint(scene, member, quantiles, quantiles_long) for member in state.cluster.members]
        clusters.append(entry)
    return {
        "at": scene.at,
        "outcomes": scene.stats.rows,
        "observer": {
            "blind": scene.blind,
        },
        "model": _model(scene.learner),
        "histogram_bounds": [round(float(edge), 6) for edge in EDGES[:-1]],
        "clusters": clusters,
    }


def _model(learner: Learner | None) -> dict[str, Any]:
    if learner is None:
        return {"enabled": False}
    predictor = learner.predictor
    return {
        "enabled": True,
        "name": predictor.name,
        "schema": predictor.schema,
        "rows": predictor.rows,
        "horizon_seconds": learner.ledger.horizon,
        "foresight_seconds": learner.foresight.horizon,
        "wants_training": learner.wants_training,
        "drifts": learner.drifted,
        "last_drift": learner.last_drift,
    }


def _cluster(scene: Scene, state: ClusterState) -> dict[str, Any]:
    trust = scene.learner.trust.get(state.cluster.index) if scene.learner is not None else None
    model_loss, rule_loss = trust.loss() if trust is not None else (math.nan, math.nan)
    recent = scene.at - state.guarded_at < REFUSED_FOR
    return {
        "name": state.cluster.name,
        "policy": state.cluster.policy,
        "mode": "fallback" if state.fallback else "model",
        "reason": state.reason,
        "panic": state.panic,
        "typical_seconds": state.typical,
        "guard": scene.blind or (state.guarded if recent else ""),
        "trained_rows": trust.rows if trust is not None else 0,
        "breaches": trust.breaches if trust is not None else 0,
        "model_log_loss": _number(model_loss),
        "rule_log_loss": _number(rule_loss),
    }


def _endpoint(
    scene: Scene, member: Member, quantiles: dict[float, Floats], long: dict[float, Floats]
) -> dict[str, Any]:
    stats, seen, slot = scene.stats, scene.seen, member.slot
    rung = scene.steering.rungs[slot]
    windows = {}
    for i, seconds in enumerate(WINDOWS):
        attempts, failures = int(seen.attempts[i, slot]), int(seen.failures[i, slot])
        windows[f"{seconds:.0f}s"] = {
            "attempts": attempts,
            "failures": failures,
            "failure_share": failures / attempts if attempts else 0.0,
            "latency_seconds": _number(float(seen.latency[i, slot])),
        }
    for name, columns in (("5s", quantiles), ("30s", long)):
        for q, column in columns.items():
            windows[name][f"p{q * 100:.0f}_seconds"] = _number(float(column[slot]))
    override = scene.steering.overrides.get(slot)
    announced = scene.steering.announced.get(slot)
    causes, statuses, histogram = (column[slot].tolist() for column in stats.counted())
    return {
        "address": member.endpoint.address,
        "slot": slot,
        "health": Health(int(scene.steering.health[slot])).name,
        "weight": int(scene.steering.weight[slot]),
        "probability": _number(float(scene.probability[slot])),
        "model_probability": _unused(scene, slot),
        "suspicion": round(float(scene.judged.suspicion[slot]), 4),
        "since": scene.at - rung.since,
        "reason": rung.reason,
        "windows": windows,
        "evidence": rule.describe(seen, scene.judged, slot),
        "in_flight": int(stats.in_flight[slot]),
        "load": _number(float(stats.load[slot])),
        "checks": {"failed": int(stats.checks_failed[slot]), "passed": int(stats.checks_passed[slot])},
        "causes": {cause.name: causes[cause] for cause in Cause if causes[cause]},
        "statuses": {f"{i}xx" if i else "none": n for i, n in enumerate(statuses) if n},
        "latency": {
            "counts": np.cumsum(histogram).tolist(),
            "sum_seconds": int(stats.totals[MICROSECONDS, slot]) / 1e6,
        },
        "announced": None
        if announced is None
        else {"share": announced.share, "most": announced.most, "seconds_left": announced.until - scene.at},
        "override": None
        if override is None or override.health is None
        else {"health": override.health.name, "seconds_left": override.until - scene.at, "reason": override.reason},
    }


def explain(scene: Scene, state: ClusterState, member: Member) -> dict[str, Any]:
    """Why this endpoint has its state and weight."""
    slot = member.slot
    rung = scene.steering.rungs[slot]
    health = Health(int(scene.steering.health[slot]))
    since = scene.at - rung.since
    refused_at, refused = scene.steering.refusals.get(slot, (-math.inf, ""))
    guarded = scene.blind or (refused if scene.at - refused_at < REFUSED_FOR else "")
    return {
        "cluster": state.cluster.name,
        "endpoint": member.endpoint.address,
        "health": health.name,
        "weight": int(scene.steering.weight[slot]),
        "full_weight": int(scene.steering.full[slot]),
        "since": since,
        "summary": _sentence(scene, state, member, health, since, guarded),
        "reason": rung.reason,
        "suspicion": round(float(scene.judged.suspicion[slot]), 4),
        "probability": _number(float(scene.probability[slot])),
        "model_probability": _unused(scene, slot),
        "decided_by": "rule" if state.fallback else "model and rule",
        "fallback_reason": state.reason if state.fallback else "",
        "panic": state.panic,
        "guard": guarded,
        "evidence": rule.describe(scene.seen, scene.judged, slot),
        "evidence_nats": {
            name: round(float(getattr(scene.judged, name)[slot]), 2)
            for name in ("failing", "slow", "stalled", "unchecked")
        },
        "foreseen": bool(scene.foreseen[slot]),
        "coming_probability": _coming(scene, slot),
        "features": _features(scene, slot),
        "back_off_level": rung.level,
        "history": [
            {"seconds_ago": scene.at - at, "from": before.name, "to": after.name, "reason": reason}
            for at, before, after, reason in rung.history
        ],
    }


def _sentence(scene: Scene, state: ClusterState, member: Member, health: Health, since: float, guarded: str) -> str:
    """What one would say of it at three in the morning."""
    doing = {
        Health.HEALTHY: "takes its full share",
        Health.DEGRADED: "is lowered: used after the healthy ones",
        Health.CANARY: "gets a trickle of requests, to learn whether it works",
        Health.EJECTED: "gets no requests",
        Health.DRAINING: "is draining: it finishes what it has",
    }[health]
    weight, full = int(scene.steering.weight[member.slot]), int(scene.steering.full[member.slot])
    if health == Health.HEALTHY and weight < full:
        doing = f"is coming back, at {weight / full:.0%} of its share"
    text = f"{member.endpoint.address} {doing}, since {since:.0f} s ago: {scene.steering.rungs[member.slot].reason}."
    if guarded:
        text += f" The guard held: {guarded}."
    if state.panic:
        text += " The cluster panics (too little is left), so that health is ignored."
    return text


def _features(scene: Scene, slot: int) -> list[dict[str, Any]]:
    """Each feature's value and what it adds to the model's log-odds, the strongest first."""
    learner = scene.learner
    if learner is None or len(learner.features) <= slot:
        return []
    row = learner.features[slot : slot + 1]
    head = learner.ahead if scene.foreseen[slot] else learner.soon  # the one that decides
    parts = head.predictor.contributions(row)[0]
    found = [
        {"name": f.name, "value": _number(v * f.scale), "contribution": _number(c), "meaning": f.meaning}
        for f, v, c in zip(FEATURES, row[0].tolist(), parts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda f: -abs(f["contribution"] or 0.0))


def _unused(scene: Scene, slot: int) -> float | None:
    """What the model says, also while nobody listens to it."""
    learner = scene.learner
    return _number(float(learner.probability[slot])) if learner and slot < len(learner.probability) else None


def _coming(scene: Scene, slot: int) -> float | None:
    """Probability of a breach within the long horizon, also while nobody listens to it."""
    learner = scene.learner
    return _number(float(learner.coming[slot])) if learner and slot < len(learner.coming) else None


def _number(value: float) -> float | None:
    """None for what JSON cannot say."""
    return round(value, 6) if math.isfinite(value) else None
