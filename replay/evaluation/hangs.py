"""Spans in which attempts never come back, told from what was given up.

An attempt that was given up either hangs, or would have been answered later than that: the first with probability p,
the second with (1 - p)·P(latency > elapsed). P is read off the instance's own answers, over their local median. Where
slow attempts have others beside them, the slowest are never answered, so that answers say too little of what is slow:
what was beaten makes a hang as far as `_chance` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from replay.evaluation.attempts import ANSWERED, ERROR, GIVEN_UP, Attempts, Column, Floats
from replay.evaluation.segments import Segment, shares
from replay.evaluation.spans import FEW, MIDDLE, PROBABILITIES, RARE, Span

NEAR = 0.5  # seconds around an attempt in which others say what is usual there
UNUSUAL = 0.02  # share of answers that take so long: an attempt given up later than that may hang
TWICE = 2.0  # times as many must be given up as would be late anyway, before any is taken to hang
# Times the longest answer: what took so long is a hang, however few are sent there. Not where a second copy beat it:
# slow answers are beaten too, so that the longest of them says nothing of how long they take.
CERTAIN = 2.0
ROUNDS = 5  # in which a stretch and the share within it settle
SHARES = (0.1, 0.3)  # that are tried at first, beside the one that is suspected
TELL = 2  # attempts that must not be sent twice are enough to tell what would have become of the others
DOUBT = 0.05  # if chance would make so many answers slower than usual less often than this, they are slow
OPEN = 0.5  # the chance of what the trace leaves open


@dataclass(frozen=True, slots=True)
class _Evidence:
    """One instance's attempts; every column has shape (n,)."""

    one: Attempts
    took: Floats
    given: Column  # bool: given up
    answered: Column  # bool
    decided: Column  # bool: given up, or answered in whatever way
    beyond: Floats  # of what was given up, the share of answers that take longer; 1 of all others
    stuck: Column  # bool: that is UNUSUAL
    certain: Column  # bool: it is CERTAIN


def hangs(one: Attempts, seconds: float) -> tuple[list[Span], Column]:
    """The spans, and which attempts hung in them (bool, shape (n,))."""
    hung = np.zeros(len(one), dtype=bool)
    given, answered = one.end == GIVEN_UP, one.end == ANSWERED
    if not given.any() or answered.sum() < FEW:
        return ([Span("hang", 0.0, seconds, count=int(given.sum()))] if given.any() else []), given
    took = one.done - one.sent
    usual = _usual(one.sent, one.sent[answered], took[answered])
    ratio = took / usual
    beyond = np.ones(len(one))
    beyond[given] = _tail(np.sort(ratio[answered]), ratio[given])
    decided = given | answered | (one.end == ERROR)
    certain = given & ~one.beaten & (ratio > CERTAIN * ratio[answered].max())
    seen = _Evidence(one, took, given, answered, decided, beyond, beyond < UNUSUAL, certain)
    pieces = shares(one.sent[decided], seen.stuck[decided], seconds)
    found: list[Span] = []
    for near, bounds in _suspect(seen, pieces, seconds):
        bounds = max(bounds[0], found[-1].end if found else 0.0), bounds[1]
        span, mine = _span(seen, near, bounds, len(pieces) == 1)
        if mine.any():
            found.append(span)
            hung |= mine
    return found, hung


def _suspect(
    seen: _Evidence, pieces: list[Segment], seconds: float
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Stretches in which far more was given up than would be late anyway, each with what it may reach into."""
    sent, none = seen.one.sent, True
    for k, s in enumerate(pieces):
        inside = seen.decided & (sent >= s.start) & (sent < s.end)
        given = inside & seen.given
        late = float(inside.sum() * seen.beyond[given].mean()) if given.any() else 0.0
        p = _share(seen.given[inside], seen.beyond[inside])
        if p * inside.sum() >= 2.0 and p >= UNUSUAL and given.sum() >= TWICE * late + 3.0 * np.sqrt(late):
            none = False
            yield (s.start, s.end), (pieces[max(0, k - 1)].start, pieces[min(len(pieces) - 1, k + 1)].end)
    certain = sent[seen.certain]
    if none and len(certain):
        yield (float(certain[0]), float(np.nextafter(certain[-1], np.inf))), (0.0, seconds)


def _span(seen: _Evidence, near: tuple[float, float], bounds: tuple[float, float], always: bool) -> tuple[Span, Column]:
    """The hang around `near`, and the attempts in it (bool, shape (n,)); none where it is none."""
    sent, decided = seen.one.sent, seen.decided
    outside = decided & ((sent < near[0]) | (sent >= near[1]))
    rare = float(np.clip(seen.stuck[outside].mean() if outside.any() else 0.0, RARE, UNUSUAL))
    around = decided & (sent >= bounds[0]) & (sent <= bounds[1])
    starts, ends = _lasted(sent[around], seen.stuck[around], near, rare, bounds)
    start, end = starts[MIDDLE], ends[MIDDLE]
    inside = decided & (sent >= start) & (sent < end)
    p, n = _share(seen.given[inside], seen.beyond[inside]), int(inside.sum())
    chance = _chance(seen, inside, always)
    hung = inside & seen.given & (p / (p + (1.0 - p) * seen.beyond) > 0.5 if p and chance else False)
    error = float(np.sqrt((n * p + 1.0) * (n * (1.0 - p) + 1.0) / (n + 3.0)) / (n + 2.0))
    return Span("hang", start, end, min(1.0, p), error, 0.0, int(hung.sum()), tuple(starts), tuple(ends), chance), hung


def _lasted(
    sent: Floats, stuck: Column, near: tuple[float, float], rare: float, bounds: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """When what is stuck around `near` began and ended, within `bounds`: quantiles of both.

    The likeliest stretch of two shares, one within and `rare` outside, is that with the largest sum of their
    log-likelihood ratios. How much less likely each other end is, weighed by the time until the next attempt, is what
    is not known of it: few are sent where little is hoped for.
    """
    a, b = np.searchsorted(sent, near)
    most = 0.0
    for share in (float(stuck[a:b].mean()), *SHARES):  # each leads to a stretch that none near it is likelier than
        for _ in range(ROUNDS):
            share = float(np.clip(share, 2.0 * rare, 1.0 - RARE))
            each = np.where(stuck, np.log(share / rare), np.log((1.0 - share) / (1.0 - rare)))
            whole = np.r_[0.0, np.cumsum(each)]
            b = int(np.argmax(whole - np.minimum.accumulate(whole)))
            a = int(np.argmin(whole[: b + 1]))
            share = (float(stuck[a:b].sum()) + 0.5) / (b - a + 1.0)
        if whole[b] - whole[a] > most:
            most, first, last, gain = whole[b] - whole[a], a, b, each
    ends = _within(np.r_[sent[last - 1 :], bounds[1]], np.r_[0.0, np.cumsum(gain[last:])])
    before = _within(-np.r_[sent[: first + 1][::-1], bounds[0]], np.r_[0.0, np.cumsum(gain[:first][::-1])])
    return [-x for x in before], ends


def _within(edges: Floats, log: Floats) -> list[float]:
    """Quantiles of a time that is anywhere in a gap between two `edges` alike, and in each with this log-likelihood."""
    mass = np.r_[0.0, np.cumsum(np.maximum(np.diff(edges), 1e-9) * np.exp(log - log.max()))]
    at: list[float] = np.interp(PROBABILITIES, mass / mass[-1], edges).tolist()
    return at


def _chance(seen: _Evidence, inside: Column, always: bool) -> float:
    """How likely it is that what was given up hangs, and is not only slow.

    What must not be sent twice tells, for a gateway neither gives it up for another try nor sends a second copy beside
    it: of that, what takes as long as the others got is answered at last, or it is not. Without such, what was beaten
    by second copies may be either, unless what was answered was slow too; but what is so `always` is how the instance
    is, as long as it answers more than it loses.
    """
    if (inside & seen.certain).any():
        return 1.0
    given, answered, post = inside & seen.given, inside & seen.answered, seen.one.post
    cut = given & ~post
    if cut.any():
        late = post & (seen.took >= float(np.median(seen.took[cut])))
        never, at_last = int((given & late).sum()), int((answered & late).sum())
        if never + at_last >= TELL:
            return 1.0 if never > at_last else 0.0
    if 2 * int((given & seen.one.beaten).sum()) <= given.sum():
        return 1.0
    usual = float(np.median(seen.took[seen.answered & ~inside])) if (seen.answered & ~inside).any() else np.inf
    slower, n = int((seen.took[answered] > usual).sum()), int(answered.sum())
    if binom.sf(slower - 1, n, 0.5) < DOUBT or (always and given.sum() < n):
        return 0.0
    return OPEN


def _usual(at: Floats, sent: Floats, took: Floats) -> Floats:
    """The median latency of what was answered around each moment; of everything, where little was."""
    whole = float(np.median(took))
    first, last = np.searchsorted(sent, at - NEAR), np.searchsorted(sent, at + NEAR)
    return np.array([float(np.median(took[a:b])) if b - a >= FEW else whole for a, b in zip(first, last, strict=True)])


def _tail(known: Floats, at: Floats) -> Floats:
    """P(more than `at`), from ascending answers; at least that of a log-normal with their median and lower half.

    Answers are cut off where patience ends, so that of themselves they say that nothing takes longer.
    """
    middle, low = float(np.median(known)), float(np.quantile(known, 0.16))  # one standard deviation below
    spread = max(0.05, np.log(middle / max(low, 1e-9)))
    plain = 1.0 - np.searchsorted(known, at) / (len(known) + 1.0)
    return np.asarray(np.maximum(plain, norm.sf(np.log(np.maximum(at, 1e-9) / middle) / spread)))


def _share(given: Column, beyond: Floats) -> float:
    """The probability of a hang, by expectation and maximisation."""
    p = max(float(given.mean()), 1e-6) if len(given) else 0.0
    for _ in range(50):
        weight = np.where(given, p / (p + (1.0 - p) * beyond), 0.0)
        p = float(weight.mean()) if len(weight) else 0.0
        if p <= 0.0:
            break
    return p
