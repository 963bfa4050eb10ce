"""An evaluation as a report's document, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from adaptive.version import __version__
from replay.evaluation.evaluate import Evaluation, Predicted
from replay.evaluation.figures import QUANTILES
from replay.evaluation.fit import Node

POINTS = 200  # of a latency curve


def document(found: Evaluation, command: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """The document. Seconds; 95 % intervals; `check` is the self-check, `instances` what was fitted."""
    name = found.fit.scenario.name
    timeout = found.fit.timeout
    rows = [_row(name, one) for one in found.predicted]
    return {
        "kind": "evaluate",
        "title": f"{found.fit.seen.cluster}: {len(found.fit.seen.requests.due)} recorded requests under other policies",
        "command": command,
        "adaptive": __version__,
        "partial": found.partial,
        "seeds": list(found.seeds),
        "hashes": dict(hashes),
        "warnings": list(found.warnings),
        "refused": [{"policy": policy, "reason": reason} for policy, reason in found.refused],
        "rows": rows,
        "compared": [dict(one) for one in found.compared],
        "series": {"latency": {one.policy: _curve(one) for one in found.predicted}},
        "moves": [],
        "thresholds": [],
        "check": {
            "policy": found.logged,
            "figures": {c.name: {"recorded": c.recorded, "simulated": c.simulated, "off": c.off} for c in found.checks},
        },
        "instances": [_instance(node) for node in found.fit.nodes],
        "timeout": timeout,
    }


def lines(found: Evaluation) -> Iterator[str]:
    """The self-check and what was fitted, one line each, for a terminal."""
    off = {c.name: c for c in found.checks}
    for name in ("p50", "p99"):
        c = off[name]
        yield (
            f"check ({found.logged}): {name} {1e3 * c.recorded:.1f} ms recorded, {1e3 * c.simulated:.1f} ms simulated "
            f"({c.off:+.1%})"
        )
    c = off["failed"]
    yield f"check ({found.logged}): {c.recorded:.0f} failures recorded, {c.simulated:.0f} simulated"
    for node in found.fit.nodes:
        yield "  " + describe(node)


def describe(node: Node) -> str:
    """What was fitted of one instance, in a line."""
    faults = [f"{s.kind}{f' {s.p:.0%}' if s.p < 1 else ''} {s.start:.1f}-{s.end:.1f} s" for s in node.spans]
    faults += [f"x{np.exp(f):.2f} {a:.1f}-{b:.1f} s" for a, b, f, _ in node.factors]
    faults += [f"{c} slots {a:.1f}-{b:.1f} s" for a, b, c in node.shrunk]
    more = f"; {', '.join(faults[:4])}{f' and {len(faults) - 4} more' if len(faults) > 4 else ''}" if faults else ""
    numbers, chance = node.slots
    likely = [c for c, p in zip(numbers, chance, strict=True) if p > 0.025] or [node.servers]
    slots = f"{node.servers}" if len(likely) == 1 else f"{node.servers} ({likely[0]}-{likely[-1]})"
    return (
        f"{node.name}: {node.requests} attempts, {node.censored:.1%} without an answer, {slots} slots, median service "
        f"{1e3 * np.exp(node.level):.1f} ms +- {node.error:.1%}, at most {node.inside} at once{more}"
    )


def _row(scenario: str, one: Predicted) -> dict[str, Any]:
    made: dict[str, Any] = {"scenario": scenario, "policy": one.policy, "requests": one.requests}
    failed = one.figures["failed"]
    made["failed"], made["failed_share"] = failed.value, failed.value / max(1, one.requests)
    for name in (*QUANTILES, "mean"):
        made[name] = one.figures[name].value
    made["intervals"] = {
        name: [one.figures[name].low, one.figures[name].high] for name in (*QUANTILES, "mean", "failed")
    }
    made["intervals"]["failed_share"] = [x / max(1, one.requests) for x in (failed.low, failed.high)]
    made["attempts_per_request"] = one.attempts
    if one.estimators:
        made["estimators"] = dict(one.estimators)
    if np.isfinite(one.effective):
        made["ess"] = one.effective
    return made


def _curve(one: Predicted) -> dict[str, list[float]]:
    q = np.linspace(0.0, 0.999, POINTS)
    x = np.sort(np.concatenate([run.seen() for run in one.runs]))
    return {"q": q.tolist(), "seconds": x[np.minimum(len(x) - 1, (q * len(x)).astype(int))].tolist()}


def _instance(node: Node) -> dict[str, Any]:
    part = node.served
    return {
        "name": node.name,
        "attempts": node.requests,
        "answered": node.answered,
        "given_up_share": node.censored,
        "slots": node.servers,
        "slots_interval": [part.slots.low, part.slots.high] if part else None,
        "slots_bounded": bool(part and part.slots.bounded),
        "service_median": float(np.exp(node.level)),
        "service_error": node.error,
        "most_at_once": node.inside,
        "load_slope": part.slope if part else None,
        "fit": describe(node),
    }
