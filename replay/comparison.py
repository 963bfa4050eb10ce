"""Policies compared in the same scenarios, as a report: figures with intervals, curves, states, moves.

Every policy meets the same requests, work and faults of a seed, so that differences are paired. With SEEDS seeds and
more an interval is that of the mean over them (t, of logarithms for latencies), and what differs from seed to seed
counts; with fewer it is a bootstrap over blocks of time of the runs there are, and says what chance could do in them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

from replay.evaluation.figures import QUANTILES, figures
from replay.evaluation.intervals import Figure, Floats, Ints, Resampling, block_ids, block_seconds, difference
from replay.report import series
from replay.report.document import Compared, Document, Move, Row, document, row
from replay.simulator.run import Run
from replay.simulator.simulation import simulate
from replay.sweep.cells import Cell, hashed

SEEDS = 5  # of fewer, a standard deviation is known within a factor of two and a half at best
LEVEL = 0.975
COMPARED = ("p50", "p99", "failed")
MOVES = 40  # of one run, the biggest


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept of one run. `due`, `seen` and `failed` (n,) are those of the judged requests."""

    cell: Cell
    scenario: str
    due: Floats
    seen: Floats
    failed: Any
    attempts: float  # a request
    digest: str
    drawn: Mapping[str, Any] = field(default_factory=dict)  # of the first seed: what the report draws

    def figures(self) -> dict[str, float]:
        """Its own figures."""
        return figures(self.seen, self.failed)


def part(cell: Cell, drawn: bool = False) -> Part:
    """Runs a cell. `drawn`: keeps what a report draws."""
    scenario = cell.made()
    run = simulate(scenario, cell.policy, cell.drawn(scenario), record=drawn)
    judged = run.requests.due >= run.warm
    if not judged.any():
        raise ValueError(f"{scenario.name}: no request was judged")
    attempts = float(run.requests.attempts[judged].mean())
    names = [instance.name for instance in scenario.instances]
    return Part(
        cell,
        scenario.name,
        run.requests.due[judged],
        run.seen(),
        run.requests.failed[judged],
        attempts,
        run.digest(),
        _drawn(run, names) if drawn else {},
    )


def _drawn(run: Run, names: Sequence[str]) -> dict[str, Any]:
    r, rows = run.requests, run.outcomes
    end = float(r.due[-1])
    made: dict[str, Any] = {
        "errors": series.errors(r.due, r.failed, end),
        "moves": series.moves(run, MOVES),
        "until": end,
    }
    shares = series.weights(run, names)
    if shares is None and rows is not None:
        shares = series.traffic(rows["sent_at"], rows["slot"], names, end)
    return {**made, "weights": shares, "states": series.states(run, names)}


def report(parts: Iterable[Part], command: str) -> Document:
    """The report of these runs, of which those of one scenario and policy are a row."""
    groups: dict[tuple[str, str], list[Part]] = {}
    for one in parts:
        groups.setdefault((one.scenario, one.cell.policy), []).append(one)
    names = list(dict.fromkeys(name for name, _ in groups))
    seeds = sorted({one.cell.seed for of in groups.values() for one in of})
    made = document("simulate", ", ".join(names), command, seeds)
    every = [one for of in groups.values() for one in of]
    cells = [one.cell for one in every]
    made["hashes"] = {f"scenario {name}": digest for name, digest in hashed(cells).items()}
    made["hashes"]["runs"] = hashlib.sha256("".join(one.digest for one in every).encode()).hexdigest()
    several = len(names) > 1
    made["series"] = {"latency": {}, "errors": {}, "weights": {}, "states": {}}
    for name in names:
        of_policy = {policy: of for (scenario, policy), of in groups.items() if scenario == name}
        rows, compared, doubt = figured(name, of_policy, next(iter(of_policy.values()))[0].cell.seed)
        made["warnings"] += [f"{name}: no intervals: {doubt}"] if doubt else []
        made["rows"] += rows
        made["compared"] += compared
        for policy, of in of_policy.items():
            _draw(made, f"{name}: {policy}" if several else policy, of)
    return made


def _draw(made: Document, name: str, of: Sequence[Part]) -> None:
    kept = made["series"]
    kept["latency"][name] = series.curve(np.concatenate([one.seen for one in of]))
    drawn = of[0].drawn
    if not drawn:
        return
    kept["errors"][name] = drawn["errors"]
    kept["until"] = max(kept.get("until", 0.0), drawn["until"])
    if drawn["weights"] is not None:
        kept["weights"][name] = drawn["weights"]
    if drawn["states"]:
        kept["states"][name] = drawn["states"]
    moves: list[Move] = drawn["moves"]
    made["moves"] += moves


def figured(scenario: str, of_policy: Mapping[str, Sequence[Part]], seed: int) -> tuple[list[Row], list[Compared], str]:
    """Rows, every policy against the first, and why there are no intervals, "" where there are. `seed`: of the
    bootstrap.
    """
    seeds = min(len(of) for of in of_policy.values())
    own = {policy: [one.figures() for one in of] for policy, of in of_policy.items()}
    blocks = None if seeds >= SEEDS else Blocks(of_policy, seed)
    rows: list[Row] = []
    compared: list[Compared] = []
    first = next(iter(of_policy))
    for policy, of in of_policy.items():
        values, spans = {}, {}
        for name in (*QUANTILES, "mean", "failed"):
            each = np.array([f[name] for f in own[policy]])
            values[name], span = over_seeds(each, name != "failed")
            spans[name] = span if blocks is None else blocks.interval(policy, name)
        judged = round(float(np.mean([len(one.due) for one in of])))
        rows.append(row(scenario, policy, judged, values, spans, float(np.mean([one.attempts for one in of]))))
        if policy == first:
            continue
        for name in COMPARED:
            a, b = (np.array([f[name] for f in own[p]]) for p in (policy, first))
            value, span = over_seeds(a[:seeds] - b[:seeds], False)
            if blocks is not None:
                span = blocks.interval(policy, name, first)
            low, high = span
            better = high < 0.0 if low * high > 0.0 else None
            compared.append({
                "scenario": scenario, "policy": policy, "to": first, "figure": name, "difference": value,
                "interval": [low, high], "better": better,
            })  # fmt: skip
    return rows, compared, "" if blocks is None else blocks.doubt()


def over_seeds(each: Floats, logarithms: bool) -> tuple[float, tuple[float, float]]:
    """The mean over seeds and its interval; of what is a ratio, the geometric mean."""
    k = len(each)
    if k < 2:
        return float(each[0]), (math.nan, math.nan)
    x = np.log(np.maximum(each, 1e-9)) if logarithms else each
    half = float(stdtrit(k - 1, LEVEL) * np.std(x, ddof=1) / math.sqrt(k))
    mean = float(np.mean(x))
    if logarithms:
        return math.exp(mean), (math.exp(mean - half), math.exp(mean + half))
    return mean, (mean - half, mean + half)


class Blocks:
    """Intervals from blocks of time, drawn once for all policies of a scenario."""

    def __init__(self, of_policy: Mapping[str, Sequence[Part]], seed: int) -> None:
        self.parts = of_policy
        first = next(iter(of_policy.values()))
        seconds = max(
            block_seconds(one.due, (one.seen > np.quantile(one.seen, 0.99)).astype(float), one.failed)
            for of in of_policy.values()
            for one in of
        )
        ids: list[Ints] = []
        for one in first:
            begin = int(ids[-1][-1]) + 1 if ids else 0
            ids.append(block_ids(one.due, seconds) + begin)
        self.runs = len(first)
        self.ids = np.concatenate(ids)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0xB10C])))
        self.draw = Resampling(int(self.ids[-1]) + 1, rng)
        self.known: dict[tuple[str, str], Figure] = {}

    def figure(self, policy: str, name: str) -> Figure:
        """One figure in every draw; failures as a share of the requests."""
        if (policy, name) not in self.known:
            of = self.parts[policy]
            if name == "failed":
                made = self.draw.mean(np.concatenate([one.failed for one in of]), self.ids)
            else:
                seen = np.concatenate([one.seen for one in of])
                q = QUANTILES.get(name)
                made = self.draw.mean(seen, self.ids) if q is None else self.draw.quantile(seen, q, self.ids)
            self.known[policy, name] = made
        return self.known[policy, name]

    def interval(self, policy: str, name: str, to: str = "") -> tuple[float, float]:
        """Of the figure, or of its difference to another policy's; of failures, as requests of one run."""
        made = self.figure(policy, name)
        if to:
            made = difference(made, self.figure(to, name))
        found = self.draw.interval(made)
        scale = len(self.ids) / self.runs if name == "failed" else 1.0
        return found.low * scale, found.high * scale

    def doubt(self) -> str:
        """Why there are no intervals; "" where there are."""
        reason = self.draw.interval(self.figure(next(iter(self.parts)), "p50")).reason
        return f"{reason.replace('record', 'simulate')}, or {SEEDS} seeds" if reason else ""
