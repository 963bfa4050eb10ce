"""Two policies that ran side by side: what a switch of all traffic from one to the other would do, from the recording.

    found = experiment(trace, "api", "api-b", seed=0)
    found.effects                    # mean latency and share of failures, second minus first, with intervals

Each request went to one of two clusters by chance; both have the same endpoints and each its own policy (a route's
`experiment`). The requests share the instances' queues, so that a plain difference of means misses what they do to
each other: `differences` sees it. No fleet is fitted and no policy is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from replay.evaluation.attempts import Column, EvaluationError, Floats, Recording, Seen, endpoints, seen
from replay.evaluation.differences import Bools, Differences, Ints, backlog, differences, queue_features
from replay.evaluation.figures import QUANTILES
from replay.evaluation.fit import patience
from replay.evaluation.intervals import Interval, Resampling, block_ids, block_seconds
from replay.report import words
from replay.report.document import Document, Row, row
from replay.report.document import document as start

# Chance alone is refused once in a million experiments.
RARE = 1e-6
# The same for a share that differs between the policies, in standard errors.
FAR = 5.0
MOST = 1e4  # times as long, beyond which nothing is said: the policies are alike
WARM = 5.0  # seconds in which queues and windows fill, which are not judged


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy's requests as they were beside the other's. Figures in seconds, and the number that failed."""

    cluster: str
    requests: int
    figures: Mapping[str, Interval]
    attempts: float  # per request


@dataclass(frozen=True, slots=True)
class Experiment:
    """The answer. `effects`: of `mean` and `failed_share`, what all traffic under the second would have more of."""

    first: Arm
    second: Arm
    effects: Mapping[str, Differences]
    seconds: float  # judged
    timeout: float
    warnings: tuple[str, ...]
    partial: str


@dataclass(frozen=True, slots=True)
class _Requests:
    """The judged requests of both, in order of `due`; shapes (n,)."""

    due: Floats
    taken: Floats  # seconds; a failed one at the time-out
    failed: Column
    post: Column
    attempts: Column
    second: Bools
    loads: tuple[Floats, Floats]  # (n, instances) each


def experiment(
    recording: Recording, first: str, second: str, *, seed: int = 0, timeout: float = 0.0, warm: float | None = None
) -> Experiment:
    """What the recording of these two clusters says.

    Raises EvaluationError where it supports no answer: other endpoints, no time together, too few requests, requests
    that were not given to one of the two by chance.
    """
    _one_fleet(recording, first, second)
    arms = seen(recording, first), seen(recording, second)
    waited = [patience(arm, timeout) for arm in arms]
    waited = [one for one in waited if not one[1]] or waited  # one of them may know what both assume
    given, notes = max(waited)
    data = _together(arms, given, WARM if warm is None else warm)
    ids = block_ids(data.due, block_seconds(data.due, data.taken))
    _by_chance(data, ids, (first, second))
    draw = Resampling(int(ids.max()) + 1, np.random.default_rng([seed, 6]))
    features = np.hstack([queue_features(load) for load in data.loads])
    seconds = float(data.due[-1] - data.due[0])
    effects = {}
    for name, reward in (("mean", data.taken), ("failed_share", data.failed.astype(np.float64))):
        try:
            found = differences(reward, data.second, features, ids, draw)
        except ValueError as error:
            raise EvaluationError(str(error)) from None
        if found.warnings:
            raise EvaluationError(found.warnings[0])
        if not found.dq.known:
            raise EvaluationError(found.dq.reason)
        effects[name] = found
    one, other = (_arm(name, data, data.second == (name == second), ids, draw) for name in (first, second))
    return Experiment(one, other, effects, seconds, given, tuple(notes), recording.partial)


def _one_fleet(recording: Recording, first: str, second: str) -> None:
    if first == second:
        raise EvaluationError(f"{first!r} is named twice: an experiment has two clusters")
    mine, others = endpoints(recording, first), endpoints(recording, second)
    if mine and others and mine != others:
        odd = ", ".join(sorted(mine ^ others))
        raise EvaluationError(f"{first} and {second} are not one fleet: only one of them has {odd}")


def _together(arms: tuple[Seen, Seen], timeout: float, warm: float) -> _Requests:
    """Both on one clock, while both had requests."""
    origin = min(arm.origin for arm in arms)
    dues = [arm.requests.due + (arm.origin - origin) for arm in arms]
    begin, end = max(float(due[0]) for due in dues) + warm, min(float(due[-1]) for due in dues)
    if end <= begin:
        raise EvaluationError(
            f"{arms[0].cluster} and {arms[1].cluster} had requests at the same time for "
            f"{max(0.0, end - begin + warm):.3g} s, of which the first {warm:g} s are not judged"
        )
    due = np.concatenate(dues)
    order = np.argsort(due, kind="stable")
    order = order[(due[order] >= begin) & (due[order] <= end)]

    def column(name: str) -> Column:
        return np.concatenate([getattr(arm.requests, name) for arm in arms])[order]

    failed = column("failed")
    taken = np.where(failed, timeout, column("latency"))
    second = np.concatenate([np.full(len(each), k == 1) for k, each in enumerate(dues)])[order]
    due = due[order]
    return _Requests(due, taken, failed, column("post"), column("attempts"), second, _loads(due, arms, origin))


def _loads(due: Floats, arms: tuple[Seen, Seen], origin: float) -> tuple[Floats, Floats]:
    """The work before each instance at each request, whichever policy sent it."""
    names = sorted({one.name for arm in arms for one in arm.instances})
    parts = [
        (one.sent + (arm.origin - origin), one.done + (arm.origin - origin), np.full(len(one), names.index(one.name)))
        for arm in arms
        for one in arm.instances
    ]
    sent, done, where = (np.concatenate(column) for column in zip(*parts, strict=True))
    return backlog(due, sent, done, where, len(names))


def _by_chance(data: _Requests, ids: Ints, names: tuple[str, str]) -> None:
    """Refuses where chance would hardly have divided the requests so, over time or between kinds of requests."""
    count = np.bincount(ids).astype(np.float64)
    ones = np.bincount(ids, data.second.astype(np.float64))
    share = float(data.second.mean())
    if not 0.0 < share < 1.0:
        raise EvaluationError(f"all of the requests went to {names[share > 0.0]}")
    beyond = float(((ones - count * share) ** 2 / (count * share * (1.0 - share))).sum())
    if len(count) > 1 and chi2.sf(beyond, len(count) - 1) < RARE:
        each = ones / count
        raise EvaluationError(
            f"the share of {names[1]} goes from {each.min():.1%} to {each.max():.1%} over time, more than by chance: "
            f"what else changed meanwhile cannot be told from the policy"
        )
    posts = [data.post[which].mean() for which in (~data.second, data.second)]
    pooled = float(data.post.mean())
    error = math.sqrt(pooled * (1.0 - pooled) / (len(data.due) * share * (1.0 - share)))
    if abs(posts[1] - posts[0]) > FAR * error:
        raise EvaluationError(
            f"{posts[0]:.1%} of the requests of {names[0]} and {posts[1]:.1%} of those of {names[1]} must not be "
            f"repeated: requests were not given to a policy by chance"
        )


def _arm(cluster: str, data: _Requests, which: Bools, ids: Ints, draw: Resampling) -> Arm:
    taken, block = data.taken[which], ids[which]
    figures = {name: draw.interval(draw.quantile(taken, q, block)) for name, q in QUANTILES.items()}
    figures["mean"] = draw.interval(draw.mean(taken, block))
    count, share = len(taken), draw.interval(draw.mean(data.failed[which], block))
    failed = int(data.failed[which].sum())
    figures["failed"] = Interval(failed, count * share.low, count * share.high, share.blocks, share.reason)
    return Arm(cluster, count, figures, float(data.attempts[which].mean()))


def document(found: Experiment, command: str, hashes: Mapping[str, str], seed: int) -> Document:
    """The report: each policy as it ran beside the other, and what all traffic under the second would have been."""
    one, other = found.first, found.second
    title = f"{one.cluster} and {other.cluster} side by side: {one.requests + other.requests} requests"
    made = start("experiment", title, command, [seed], found.partial)
    made["hashes"], made["warnings"] = dict(hashes), list(found.warnings)
    made["rows"] = [_row(one), _row(other)]
    for name, effect in found.effects.items():
        span = effect.dq
        made["compared"].append({
            "scenario": "", "policy": other.cluster, "to": one.cluster, "figure": name,
            "difference": span.estimate, "interval": [span.low, span.high],
            "better": None if span.low <= 0.0 <= span.high else span.high < 0.0,
        })  # fmt: skip
    made["facts"] = list(_facts(found))
    return made


def _row(arm: Arm) -> Row:
    values = {name: span.estimate for name, span in arm.figures.items()}
    spans = {name: [span.low, span.high] for name, span in arm.figures.items()}
    return row("", arm.cluster, arm.requests, values, spans, arm.attempts)


def _facts(found: Experiment) -> Iterator[str]:
    total = found.first.requests + found.second.requests
    yield (
        f"{found.seconds:.0f} s judged; {found.second.requests / total:.1%} of the requests went to "
        f"{found.second.cluster}, by chance as far as their times, kinds and queues tell"
    )
    yield "the difference is by differences in Q: had all of the traffic gone to the second instead of the first"
    for name, effect in found.effects.items():
        plain = effect.naive
        yield (
            f"plain difference of {name.replace('_', ' ')}, which leaves out what requests do to each other: "
            f"{words.figure(name, plain.estimate)} ({words.interval(name, [plain.low, plain.high])})"
        )
    span, plain = found.effects["mean"].dq, found.effects["mean"].naive
    longer = ((span.high - span.low) / max(2.0 * abs(plain.estimate), 1e-12)) ** 2
    if span.low <= 0.0 <= span.high and 1.0 < longer < MOST:
        yield f"to tell a mean that differs by as much as the plain one, record some {longer:.0f} times as long"
