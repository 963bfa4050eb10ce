"""Foretold: policies predicted from a live recording under another one, and what they then did on the same arrivals.

Beside the prediction stand two that must fail: recorded latencies given to where the other policy would have sent, and
plain inverse propensities. What came true is what the other gateway recorded; a recording does not know the clients'
side of the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adaptive.arena.live import Live
from adaptive.bench.likeness import PREDICTED, Figures, allowance, misses
from replay.evaluation.attempts import EvaluationError, Seen, seen
from replay.evaluation.beside import first_rows, targets
from replay.evaluation.chances import NoDistribution
from replay.evaluation.evaluate import Predicted, evaluate
from replay.evaluation.naive import reassigned, weighted
from replay.policies import named
from replay.trace import read

SHARE = 0.01  # of picks that are made at random while recording
NAMES = ("p50", "p99", "failed")

# Answers that must fail, by the field that holds them.
SIMPLE = {"naive": "recorded latencies reassigned", "ips": "plain IPS"}

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Foretold:
    """One policy predicted from a recording. `said` None: refused, and `reason` says why."""

    scenario: str
    recorded: str
    policy: str
    truth: Figures
    said: Figures | None
    intervals: tuple[Interval, Interval, Interval] | None  # of p50, p99 and failures
    naive: Figures | None
    ips: Figures | None
    reason: str = ""

    @property
    def wrong(self) -> list[str]:
        """The figures that are off by more than they may."""
        return misses(self.said, self.truth, PREDICTED) if self.said is not None else ["refused"]

    @property
    def failed(self) -> float:
        """By how many requests the failures are off; NaN where it was refused."""
        return self.said.off(self.truth)[2] if self.said is not None else float("nan")

    def covered(self) -> list[bool]:
        """Whether each interval holds what came true."""
        if self.intervals is None:
            return []
        truth = (self.truth.p50, self.truth.p99, self.truth.failed)
        return [low <= x <= high for x, (low, high) in zip(truth, self.intervals, strict=True)]


def foretell(recorded: Live, others: Sequence[Live], say: Callable[[str], None]) -> list[Foretold]:
    """Predicts the policies of `others` from a recording, and compares with theirs."""
    trace = read([recorded.recording])
    by = f"{recorded.policy}@random={SHARE:g}"
    names = [one.policy for one in others]
    try:
        found = evaluate(trace, names, logged=by, seed=recorded.seed, warm=recorded.warm, estimators=False)
    except EvaluationError as error:
        return [_refused(recorded, one, str(error)) for one in others]
    refused = dict(found.refused)
    data = found.fit.seen
    made = []
    for one in others:
        predicted = found.of(one.policy)
        if predicted is None:
            made.append(_refused(recorded, one, refused.get(one.policy, "")))
            continue
        naive, ips = _simple(data, one.policy, recorded)
        said, intervals = _said(predicted)
        made.append(Foretold(recorded.scenario, by, one.policy, truth(one), said, intervals, naive, ips))
    for row in made:
        say(line(row))
    return made


def truth(one: Live) -> Figures:
    """What a gateway recorded of its requests."""
    requests = seen(read([one.recording])).requests
    return Figures.of(requests.seen(one.warm, one.timeout), float(requests.failed[requests.due >= one.warm].sum()))


def _refused(recorded: Live, one: Live, reason: str) -> Foretold:
    return Foretold(recorded.scenario, recorded.policy, one.policy, truth(one), None, None, None, None, reason)


def _said(found: Predicted) -> tuple[Figures, tuple[Interval, Interval, Interval]]:
    p50, p99, failed = (found.figures[name] for name in NAMES)
    return Figures(p50.value, p99.value, failed.value), (
        (p50.low, p50.high),
        (p99.low, p99.high),
        (failed.low, failed.high),
    )


def _simple(data: Seen, policy: str, recorded: Live) -> tuple[Figures | None, Figures | None]:
    """The two simple answers; None where the policy does not say how likely its picks are."""
    try:
        chances = targets(data, named(policy), recorded.seed)
    except NoDistribution:
        return None, None
    judged = data.requests.due >= recorded.warm
    latency, failed = reassigned(data, chances, np.random.default_rng([recorded.seed, 5]), recorded.timeout)
    naive = Figures.of(latency[judged], float(failed[judged].sum()))
    propensity = np.asarray(data.rows["propensity"][first_rows(data)], dtype=float)
    quantiles, share = weighted(data, chances, propensity, recorded.timeout)
    return naive, Figures(float(quantiles[0]), float(quantiles[1]), share * int(judged.sum()))


def line(row: Foretold) -> str:
    """A row for the terminal."""
    head = f"{row.scenario:12} {row.recorded} -> {row.policy:14}"
    if row.said is None or row.intervals is None:
        return f"{head} refused: {row.reason}"
    parts = [f"{head} p50 {1e3 * row.truth.p50:.1f} p99 {1e3 * row.truth.p99:.1f} failed {row.truth.failed:.0f}:"]
    for name, one in (("said", row.said), ("naive", row.naive), ("IPS", row.ips)):
        if one is not None:
            off = one.off(row.truth)
            parts.append(f"{name} {off[0]:+.1%} {off[1]:+.1%} {off[2]:+.0f}")
    out = [name for name, ok in zip(NAMES, row.covered(), strict=True) if not ok]
    return "  ".join(parts) + (f"  outside: {', '.join(out)}" if out else "") + _verdict(row)


def _verdict(row: Foretold) -> str:
    return f"  WRONG: {', '.join(row.wrong)}" if row.wrong else ""


def simple(rows: Sequence[Foretold], name: str) -> tuple[int, int, int]:
    """Of the rows that the answer `naive` or `ips` knows too: how many there are, in how many it is wrong, and ours."""
    both = [(getattr(row, name), row) for row in rows if row.said is not None and getattr(row, name) is not None]
    return (
        len(both),
        sum(bool(misses(one, row.truth, PREDICTED)) for one, row in both),
        sum(bool(r.wrong) for _, r in both),
    )


def shown(rows: Sequence[Foretold]) -> bool:
    """Whether each simple answer fails the check that ours is held to, and oftener than ours does."""
    found = [simple(rows, name) for name in SIMPLE]
    return all(not count or failing > ours for count, failing, ours in found)


def table(rows: Sequence[Foretold]) -> Iterator[str]:
    """The verdict, in lines; none where nothing was predicted."""
    if not rows:
        return
    told = [row for row in rows if row.said is not None]
    covered = [ok for row in told for ok in row.covered()]
    right = sum(not row.wrong for row in told)
    off = [row.failed for row in told]
    near = sum(abs(row.failed) <= allowance(row.truth.failed) for row in told)
    yield (
        f"predicted from a recording: {right} of {len(rows)} within 10 % (p50) and 20 % (p99), {len(rows) - len(told)} "
        f"refused; intervals hold {sum(covered)} of {len(covered)} figures"
    )
    if told:
        yield (
            f"failures, of which the intervals are asked: {near} of {len(told)} rows within 10 % or 5 requests, off by "
            f"{min(off):+.0f} to {max(off):+.0f} requests, {np.median(off):+.0f} in the median"
        )
    for name, label in SIMPLE.items():
        count, failing, ours = simple(rows, name)
        if not count:
            continue
        both = [(getattr(row, name), row.truth) for row in told if getattr(row, name) is not None]
        worst = [max(abs(one.off(true)[k]) for one, true in both) for k in range(3)]
        yield (
            f"{label}: {failing} of {count} fail the same check, of ours {ours}; off by up to {worst[0]:.0%} (p50), "
            f"{worst[1]:.0%} (p99), {worst[2]:.0f} failures (to fail oftener than ours: "
            f"{'holds' if failing > ours else 'does not hold'})"
        )
