"""An evaluation as a report's document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from replay.evaluation.evaluate import Evaluation, Predicted
from replay.evaluation.figures import NAMES
from replay.evaluation.fit import Node
from replay.report import series
from replay.report.document import Document, Row, Series, row
from replay.report.document import document as start


def document(found: Evaluation, command: str, hashes: Mapping[str, str]) -> Document:
    """The document. Beside a report's own keys: `check` is the self-check, `instances` what was fitted."""
    name = found.fit.scenario.name
    title = f"{found.fit.seen.cluster}: {len(found.fit.seen.requests.due)} recorded requests under other policies"
    made = start("evaluate", title, command, found.seeds, found.partial)
    made["hashes"] = dict(hashes)
    made["warnings"] = list(found.warnings)
    made["refused"] = [{"policy": policy, "reason": reason} for policy, reason in found.refused]
    made["rows"] = [_row(name, one) for one in found.predicted]
    made["compared"] = [cast(Any, dict(one)) for one in found.compared]
    made["series"] = _series(found)
    made["moves"] = [move for one in found.predicted for move in series.moves(one.runs[0])]
    made["facts"] = list(lines(found))
    beside = {
        "check": {
            "policy": found.logged,
            "figures": {c.name: {"recorded": c.recorded, "simulated": c.simulated, "off": c.off} for c in found.checks},
        },
        "instances": [_instance(node) for node in found.fit.nodes],
        "timeout": found.fit.timeout,
    }
    return cast(Document, {**made, **beside})


def lines(found: Evaluation) -> Iterator[str]:
    """The self-check and what was fitted, one line each."""
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


def _row(scenario: str, one: Predicted) -> Row:
    values = {name: one.figures[name].value for name in NAMES}
    intervals = {name: [one.figures[name].low, one.figures[name].high] for name in NAMES}
    made = row(scenario, one.policy, one.requests, values, intervals, one.attempts)
    if one.estimators:
        made["estimators"] = dict(one.estimators)
    if np.isfinite(one.effective):
        made["ess"] = one.effective
    return made


def _series(found: Evaluation) -> Series:
    """Latencies of all runs of the likeliest fleet; what happens over time, of the first of them."""
    made: Series = {"latency": {}, "errors": {}, "weights": {}, "states": {}}
    names = [one.name for one in found.fit.scenario.instances]
    for one in found.predicted:
        first = one.runs[0]
        made["latency"][one.policy] = series.curve(np.concatenate([run.seen() for run in one.runs]))
        made["errors"][one.policy] = series.errors(first.requests.due, first.requests.failed)
        made["until"] = float(first.requests.due[-1])
        rows = first.outcomes
        if rows is not None and len(rows):
            made["weights"][one.policy] = series.traffic(rows["sent_at"], rows["slot"], names, made["until"])
        if steps := series.states(first, names):
            made["states"][one.policy] = steps
    return made


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
