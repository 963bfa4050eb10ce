"""Who did best in an arena: a report's document from what the gateways showed, and where Adaptive is worse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from adaptive.arena.contest import WINDOW, Shown, Watched
from adaptive.bench.arena import OURS
from adaptive.types import Health
from replay.comparison import Part, figured
from replay.evaluation.figures import QUANTILES
from replay.report import series, words
from replay.report.document import Document, Judged, Row, Shares, document
from replay.sweep.cells import Cell

CALM = frozenset({"calm", "swings"})  # in which nothing is wrong
EVEN = 0.1  # by which a weight may be off the mean there, and no endpoint may be ejected
ALLOWANCE = 2  # failed requests by which one scenario may be worse than the best peer: chance
LIKE = 0.03  # of p50 and p99 in calm, which nobody can improve on
THIRD = 1 / 3  # of the best peer's failures, over all scenarios with faults: the aim
MOVES = 20  # of one run that are shown


def report(shown: Sequence[Shown], about: str, command: str, seeds: Sequence[int], missing: Sequence[str]) -> Document:
    """The document of a comparison."""
    made = document("arena", about, command, seeds)
    made["series"] = {"latency": {}, "errors": {}, "weights": {}, "states": {}}
    made["warnings"] += missing
    names = list(dict.fromkeys(one.scenario for one in shown))
    for name in names:
        of = [one for one in shown if one.scenario == name]
        parts = {one.name: [_part(one)] for one in of}
        rows, compared, doubt = figured(name, parts, 0)
        for row, one in zip(rows, of, strict=True):
            row["note"] = _note(one)
        made["rows"] += rows
        made["compared"] += compared
        if doubt:
            made["warnings"].append(f"{name}: no intervals: {doubt}")
        made["warnings"] += [f"{name}: not judged: {one.name}: {one.invalid}" for one in of if one.invalid]
        for one in of:
            _draw(made, f"{name}: {one.name}" if len(names) > 1 else one.name, one)
    made["thresholds"] = judged(shown, made["rows"])
    made["facts"] = list(verdict(shown))
    return made


def _part(one: Shown) -> Part:
    cell = Cell(one.scenario, one.name, 0)
    return Part(cell, one.scenario, one.due, one.seen, one.failed, one.attempts(), "")


def _note(one: Shown) -> str:
    text = f"{1e6 * one.each:.0f} µs of CPU each, load +{one.added:.2%}, at most +{one.most_added:.1%} in {WINDOW} s"
    return f"INVALID: {one.invalid}; {text}" if one.invalid else text


def _draw(made: Document, name: str, one: Shown) -> None:
    kept = made["series"]
    end = float(one.due.max(initial=0.0))
    kept["latency"][name] = series.curve(one.seen)
    kept["errors"][name] = series.errors(one.due, one.failed, end)
    kept["until"] = max(kept.get("until", 0.0), end)
    for number, told in enumerate(one.watched, 1):
        if told.at:
            _tell(made, name if len(one.watched) == 1 else f"{name} {number}", one, told)


def _tell(made: Document, name: str, one: Shown, told: Watched) -> None:
    """What one gateway of ours said of itself."""
    kept = made["series"]
    endpoints = [f"instance {i}" for i in range(len(told.weights[0]))]
    kept["weights"][name] = _weights(told, endpoints)
    states: dict[str, list[list[object]]] = {}
    for at, row in zip(told.at, told.states, strict=True):
        for endpoint, state in zip(endpoints, row, strict=True):
            steps = states.setdefault(endpoint, [])
            if not steps or steps[-1][1] != state:
                steps.append([max(0.0, at) if steps else 0.0, state])
    kept["states"][name] = states
    made["moves"] += [
        {
            "at": move.at, "policy": one.name, "endpoint": endpoints[move.instance], "before": move.before,
            "after": move.after, "reason": move.reason, "scenario": one.scenario,
        }
        for move in told.moves[:MOVES]
    ]  # fmt: skip


def _weights(told: Watched, endpoints: Sequence[str]) -> Shares:
    weight = np.array(told.weights)
    gone = (Health.EJECTED.name, Health.DRAINING.name)
    weight[np.isin(np.array(told.states), gone)] = 0.0
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    return {
        "t": [max(0.0, at) for at in told.at],
        "of": "weight",
        "share": {name: np.round(share[:, i], 5).tolist() for i, name in enumerate(endpoints)},
    }


def sound(shown: Sequence[Shown]) -> list[str]:
    """Names of the scenarios in which nothing was late."""
    bad = {one.scenario for one in shown if one.invalid}
    return [name for name in dict.fromkeys(one.scenario for one in shown) if name not in bad]


def judged(shown: Sequence[Shown], rows: Sequence[Row] = ()) -> list[Judged]:
    """Adaptive against the best peer of each sound scenario, as thresholds; none where no peer ran. `rows` have the
    intervals.
    """
    spans = {(row["scenario"], row["policy"]): row["intervals"] for row in rows}
    found: list[Judged] = []
    for name in sound(shown):
        ours = next((one for one in shown if one.scenario == name and one.name == OURS), None)
        peers = [one for one in shown if one.scenario == name and not one.name.startswith(OURS)]
        if ours is None or not peers:
            continue
        figures = ("failed", "p50", "p99") if name in CALM else ("failed", "p999")
        for figure in figures:
            factor, more = (1.0, float(ALLOWANCE)) if figure == "failed" else (1.0 + LIKE * (name in CALM), 0.0)
            best, theirs = min(((one.name, _value(one, figure)) for one in peers), key=lambda pair: pair[1])
            bar, own = factor * theirs + more, _value(ours, figure)
            low, high = spans.get((name, OURS), {}).get(figure, [None, None])
            allowed = f" and {more:g} more" if more else f" and {factor - 1.0:.0%} more" if factor > 1.0 else ""
            found.append({
                "text": f"{words.HEADS.get(figure, figure)} at most {best}'s {words.figure(figure, theirs)}"
                f"{allowed}",
                "scenario": name, "policy": OURS, "figure": figure, "value": own, "interval": [low, high],
                "ok": own <= bar, "supported": _supported(low, high, bar, own <= bar), "reason": "",
            })  # fmt: skip
    return found


def _supported(low: float | None, high: float | None, bar: float, ok: bool) -> bool | None:
    """Whether an interval agrees; None where it holds both answers, or there is none."""
    if low is None or high is None or math.isnan(low + high) or low <= bar < high:
        return None
    return (high <= bar) == ok


def _value(one: Shown, figure: str) -> float:
    return float(one.failed.sum()) if figure == "failed" else one.quantile(QUANTILES[figure])


def worse(shown: Sequence[Shown]) -> list[str]:
    """In what Adaptive is worse than the best peer of a scenario."""
    return [
        f"{one['scenario']}: {words.figure(one['figure'], one['value'])}, not {one['text']}"
        for one in judged(shown)
        if not one["ok"]
    ]


def totals(shown: Sequence[Shown]) -> dict[str, int]:
    """Failed requests by gateway, over the sound scenarios with faults."""
    found: dict[str, int] = {}
    good = set(sound(shown)) - CALM
    for one in shown:
        if one.scenario in good:
            found[one.name] = found.get(one.name, 0) + int(one.failed.sum())
    return found


def steady(one: Shown) -> Iterator[str]:
    """What a gateway of ours did where there was nothing to do: how uneven its weights were, whom it ejected."""
    if one.scenario in CALM:
        for number, told in enumerate(one.watched, 1):
            if told.at:
                yield f"{one.scenario}: {one.name}'s {f'{number}. ' if len(one.watched) > 1 else ''}{_steady(told)}"


def _steady(told: Watched) -> str:
    weight = np.array(told.weights)[np.array(told.at) >= 0.0]
    mean = np.maximum(weight.mean(axis=1, keepdims=True), 1e-9)
    off = float(np.abs(weight / mean - 1.0).max(initial=0.0))
    states = [state for row in told.states for state in row]
    ejected = sum(move.after.upper() == Health.EJECTED.name for move in told.moves)
    healthy = states.count(Health.HEALTHY.name) / max(1, len(states))
    return (
        f"weights were within {off:.1%} of even ({'at most' if off <= EVEN else 'above'} "
        f"{EVEN:.0%}), {ejected} ejections, endpoints healthy {healthy:.2%} of the time"
    )


def verdict(shown: Sequence[Shown]) -> Iterator[str]:
    """The judgement in lines."""
    of = totals(shown)
    if of:
        yield f"failed, over {len([n for n in sound(shown) if n not in CALM])} scenarios with faults: " + ", ".join(
            f"{name} {count:,}" for name, count in of.items()
        )
    peers = {name: count for name, count in of.items() if not name.startswith(OURS)}
    if OURS in of and peers:
        best = min(peers, key=lambda name: peers[name])
        word = "at most" if of[OURS] <= THIRD * peers[best] else "above"
        yield f"that is {word} a third of the best peer's, {best}'s {peers[best]:,}"
    for one in shown:
        if one.name.startswith(OURS) and one.most_added > 0.05:
            yield f"{one.scenario}: {one.name} added {one.most_added:.1%} in {WINDOW} s, above 5%"
    yield from (text for one in shown for text in steady(one))
    for one in shown:
        if told := one.statuses():
            yield f"{one.scenario}: {one.name} failed with " + ", ".join(f"{k}: {n:,}" for k, n in told.items())
    yield (
        "beside each gateway: its CPU time a request, the load that it adds by further attempts, and the most of that "
        f"in {WINDOW} s"
    )
    used: dict[str, float] = {}
    for one in shown:
        if one.name == OURS:
            for role, seconds in one.cpu.items():
                used[role] = used.get(role, 0.0) + seconds
    if used:
        shares = ", ".join(f"{role} {seconds / max(1e-9, sum(used.values())):.0%}" for role, seconds in used.items())
        yield f"{OURS}'s CPU time: {shares}"
    busiest = max(shown, key=lambda one: one.busy)
    late = max(one.late for one in shown)
    yield (
        f"load and fleets at most {1e3 * late:.1f} ms late at p99 of the worst {WINDOW} s; processors at most "
        f"{busiest.busy:.0%} busy"
    )
