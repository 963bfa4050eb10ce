"""What the brain reports, as metric families: the report of the Controller, and what its shell adds as `brain`.

The report has crossed a process border as JSON and may come from another version: what is missing in it is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adaptive.telemetry.families import OTHER, Families

Report = Mapping[str, Any]

_ATTEMPTS = "Attempts closed, by how they ended."
_RESPONSES = "Attempts closed, by class of the response's status."
_LATENCY = "Seconds from the start of attempts to their response's first byte."
_HEALTH = "Endpoints by health: 1 for the state that an endpoint is in."


def add(out: Families, report: Report, endpoints: int) -> None:
    """All that a report holds. Beyond so many `endpoints`, in the order of the report, they are folded together."""
    _whole(out, report)
    room = endpoints
    bounds = report.get("histogram_bounds", [])
    for cluster in report.get("clusters", []):
        _cluster(out, cluster)
        members = sorted(cluster.get("endpoints", []), key=lambda e: str(e.get("address")))
        for endpoint in members[:room]:
            _endpoint(out, cluster["name"], endpoint, bounds)
        if members[room:]:
            _endpoint(out, cluster["name"], fold(members[room:]), bounds)
        room = max(0, room - len(members))


def fold(endpoints: Sequence[Report]) -> Report:
    """Several endpoints as one, named OTHER: what can be added is, the rest is left out."""
    causes: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    counts: list[int] = []
    for endpoint in endpoints:
        causes.update(endpoint.get("causes", {}))
        statuses.update(endpoint.get("statuses", {}))
        own = endpoint.get("latency", {}).get("counts", [])
        counts = [a + b for a, b in zip(counts, own, strict=False)] if counts else list(own)
    return {
        "address": OTHER,
        "causes": causes,
        "statuses": statuses,
        "latency": {"counts": counts, "sum_seconds": _sum(e.get("latency", {}).get("sum_seconds") for e in endpoints)},
        "in_flight": _sum(e.get("in_flight") for e in endpoints),
        "healths": Counter(str(e.get("health", "unknown")) for e in endpoints),
    }


def _endpoint(out: Families, cluster: str, endpoint: Report, bounds: Sequence[float]) -> None:
    who = {"cluster": cluster, "endpoint": str(endpoint.get("address", OTHER))}
    for cause, count in endpoint.get("causes", {}).items():
        out.counter("endpoint_attempts", _ATTEMPTS, count, **who, cause=cause.lower())
    for kind, count in endpoint.get("statuses", {}).items():
        out.counter("endpoint_responses", _RESPONSES, count, **who, code_class=kind)
    latency = endpoint.get("latency", {})
    out.histogram(
        "endpoint_latency_seconds", _LATENCY, bounds, latency.get("counts", []), latency.get("sum_seconds", 0.0), **who
    )
    for health, count in endpoint.get("healths", {str(endpoint.get("health", "unknown")): 1}).items():
        out.gauge("endpoint_health", _HEALTH, count, **who, health=health.lower())
    for key, name, text in (
        ("weight", "endpoint_weight", "Weight of an endpoint in the snapshot in force."),
        ("probability", "endpoint_failure_probability", "Predicted probability of a breach within the horizon."),
        ("suspicion", "endpoint_suspicion_ratio", "How far the model-free rule suspects an endpoint, 0 to 1."),
        ("in_flight", "endpoint_attempts_open", "Attempts in flight at an endpoint, all workers."),
    ):
        if endpoint.get(key) is not None:
            out.gauge(name, text, float(endpoint[key]), **who)


def _cluster(out: Families, cluster: Report) -> None:
    name = cluster["name"]
    out.gauge(
        "cluster_panic", "1 while a cluster ignores health: too few are left.", bool(cluster.get("panic")), cluster=name
    )
    fallback = cluster.get("mode") == "fallback"
    text = "1 while the model-free policy decides for a cluster, with the reason."
    out.gauge("cluster_fallback", text, fallback, cluster=name, reason=_kind(cluster.get("reason")) if fallback else "")
    guard = _kind(cluster.get("guard"))
    out.gauge(
        "cluster_guarded",
        "1 while the guard holds decisions back, with what bound.",
        bool(guard),
        cluster=name,
        guard=guard,
    )
    for key, metric, text in (
        ("typical_seconds", "cluster_typical_latency_seconds", "Typical latency of a cluster; 0: not known yet."),
        ("model_log_loss", "cluster_model_log_loss", "Logarithmic loss of the model on labels since arrived."),
        ("rule_log_loss", "cluster_rule_log_loss", "Logarithmic loss of the model-free rule on the same labels."),
    ):
        if cluster.get(key) is not None:
            out.gauge(metric, text, float(cluster[key]), cluster=name)


def _whole(out: Families, report: Report) -> None:
    if "outcomes" in report:
        out.counter("outcomes", "Outcomes that reached the brain.", report["outcomes"])
    blind = report.get("observer", {}).get("blind", "")
    out.gauge("observer_blind", "1 while the gateway sees too badly to judge anyone.", bool(blind))
    model = report.get("model", {})
    out.gauge("model_enabled", "1 where a model predicts.", bool(model.get("enabled")))
    if model.get("enabled"):
        labels = {"name": str(model.get("name", "")), "schema": str(model.get("schema", ""))}
        out.gauge("model_info", "The model in use.", 1, **labels)
        out.counter("model_trained_rows", "Labelled rows the model has learned from.", model.get("rows", 0))
        out.counter("model_drifts", "Times that the model's world was seen to change.", model.get("drifts", 0))
        text = "1 once something drifted since the model was trained."
        out.gauge("model_wants_training", text, bool(model.get("wants_training")))
    _versions(out, model.get("versions", {}))
    brain = report.get("brain", {})
    if brain.get("models_refused") is not None:
        text = "Versions of the model store that were refused: corrupted, or made for another program."
        out.counter("model_refusals", text, brain["models_refused"])
    for worker, lost in enumerate(brain.get("ring_lost", [])):
        out.counter("outcomes_lost", "Outcomes that did not fit in a worker's ring.", lost, worker=str(worker))
    if "snapshot" in brain:
        out.gauge("snapshot_version", "Version of the snapshot in force.", brain["snapshot"])
    ticks = brain.get("ticks")
    if ticks:
        text = "Seconds of the brain's ticks."
        out.histogram("brain_tick_duration_seconds", text, ticks["bounds"], ticks["counts"], ticks["sum_seconds"])
    _recorder(out, brain.get("recorder"))
    _event_log(out, brain.get("event_log"))


def _versions(out: Families, versions: Report) -> None:
    for role in ("champion", "challenger"):
        if versions.get(role):
            text = "1 for the version that serves, and for the one that predicts in shadow."
            out.gauge("model_version", text, 1, role=role, version=str(versions[role]))
    for key, text in (
        ("promotions", "Challengers promoted by their live scores."),
        ("rollbacks", "Champions rolled back by their live scores."),
        ("dismissals", "Challengers dismissed by their live scores."),
    ):
        if key in versions:
            out.counter(f"model_{key}", text, versions[key])


def _recorder(out: Families, recorder: Report | None) -> None:
    if recorder is None:
        return
    out.gauge(
        "recorder_recording", "1 while outcomes are recorded, 0 while the disk refuses.", bool(recorder["recording"])
    )
    for key, text in (
        ("rows", "Outcomes recorded."),
        ("dropped_rows", "Outcomes not recorded, because the disk refused or the buffer was full."),
        ("failures", "Times that writing a recording failed."),
        ("deleted_files", "Recordings deleted to stay within the bound."),
    ):
        out.counter(f"recorder_{key}", text, recorder.get(key, 0))


def _event_log(out: Families, told: Report | None) -> None:
    if told is None:
        return
    out.gauge("event_log_logging", "1 while events are logged, 0 since the log had to end.", bool(told["logging"]))
    out.gauge("event_log_bytes", "Size of the present event log.", told.get("bytes", 0))
    for key, text in (
        ("events", "Events logged."),
        ("dropped_events", "Events not logged, because the log had to end before: a full disk, or its bound."),
        ("failures", "Times that writing an event log failed."),
        ("deleted_files", "Event logs deleted to stay within the bound."),
    ):
        out.counter(f"event_log_{key}", text, told.get(key, 0))


def _kind(reason: object) -> str:
    """A reason as a label of few values: what stands before its details, without numbers."""
    text = re.split(r"[:;(,]", str(reason or ""), maxsplit=1)[0]
    return re.sub(r"[\d.]+", "#", text).strip()[:60]


def _sum(values: Iterable[float | None]) -> float:
    return sum(v for v in values if v is not None)
