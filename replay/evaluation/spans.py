"""Spans in which an instance did not serve as usual: down, hung, paused, or answering with errors.

Each is found from the outcomes of the attempts that were sent there, without knowing how the instance serves: these
attempts must be set apart before its queue can be rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, poisson

from replay.evaluation.attempts import ANSWERED, CUT, ERROR, GIVEN_UP, REFUSED, UNREACHABLE, Attempts, Column, Floats
from replay.evaluation.segments import shares

# A gap in an instance's answers and the burst at its end make a pause if chance would do so once in e**16 answers.
SURPRISE = 16.0
BURST = 0.004  # seconds in which what a pause held back comes out
LEAST_BURST = 2
AROUND = 2.0  # seconds in which others say what is usual
LEAST_PAUSE = 0.02  # seconds
NEAR = 0.5  # seconds around an attempt in which others say what is usual there
FEW = 5  # answers that make a median
UNUSUAL = 0.02  # share of answers that take so long: an attempt given up later than that may hang
TWICE = 2.0  # times as many must be given up as would be late anyway, before any is taken to hang
MOSTLY = 0.8  # share of refusals from which an instance counts as down rather than erring
RARE = 0.001  # share of errors that is not worth a fault


@dataclass(frozen=True, slots=True)
class Span:
    """One fault, as it was seen. `p`: its probability, with its standard error; 1 where it is certain."""

    kind: str
    start: float
    end: float
    p: float = 1.0
    error: float = 0.0
    seconds: float = 0.0  # until the answer, of errors
    count: int = 0  # attempts that it was seen in


def pauses(one: Attempts) -> list[Span]:
    """Stop-the-world pauses: no answer though attempts were there for longer than chance would have it, then several.

    What was there is weighed by its time in the gap over the median latency around it: so many answers were due.
    """
    answered = one.end == ANSWERED
    order = np.argsort(one.done[answered], kind="stable")
    sent, done = one.sent[answered][order], one.done[answered][order]
    if len(done) < 2 * FEW:
        return []
    whole = float(np.median(done - sent))
    found = []
    for k in np.flatnonzero(np.diff(done) >= LEAST_PAUSE):
        a, b = float(done[k]), float(done[k + 1])
        burst = int(np.searchsorted(done, b + BURST) - (k + 1))
        if burst < LEAST_BURST:
            continue
        before, after = np.searchsorted(done, (a - AROUND, b + AROUND))
        near = np.r_[before:k, k + 1 + burst : after]
        usual = float(np.median((done - sent)[near])) if len(near) >= FEW else whole
        rest = sent[k + 1 : after + FEW]
        due = float(np.clip(b - np.maximum(rest[rest < b], a), 0.0, None).sum()) / max(usual, 1e-6)
        rate = len(near) / (2 * AROUND)
        if due - float(poisson.logsf(burst - 2, rate * BURST)) > SURPRISE and (rest < a).any():
            start = a + min(1.0 / max(rate, 1e-6), (b - a) / 2)  # the last answer came one usual gap before it
            found.append(Span("gc", start, b, count=burst))
    return found


def downs(one: Attempts, seconds: float) -> list[Span]:
    """Spans in which connections were refused, or not even that; a smaller share of refusals is one of errors."""
    found = []
    for kind, ends in (("down", (REFUSED, CUT)), ("unreachable", (UNREACHABLE,))):
        hit = np.isin(one.end, ends)
        if not hit.any():
            continue
        at = np.where(one.end == CUT, one.done, one.sent)
        order = np.argsort(at, kind="stable")
        for s in shares(at[order], hit[order], seconds):
            inside = hit & (at >= s.start) & (at < s.end)
            if not inside.any():
                continue
            if s.value < MOSTLY:
                wait = float(np.median((one.done - one.sent)[inside]))
                found.append(Span("errors", s.start, s.end, s.value, s.error, wait, int(inside.sum())))
                continue
            last = float(at[inside].max())
            later = one.sent[(one.sent > last) & ~hit]
            end = float(later.min() + last) / 2 if len(later) else seconds
            found.append(Span(kind, float(at[inside].min()), max(end, last + 1e-3), count=int(inside.sum())))
    return found


def errors(one: Attempts, wire: float, seconds: float) -> list[Span]:
    """Spans in which a share of the attempts was answered with an error at once."""
    hit = one.end == ERROR
    decided = np.isin(one.end, (ANSWERED, ERROR, GIVEN_UP))
    found = []
    for s in shares(one.sent[decided], hit[decided], seconds):
        inside = hit & (one.sent >= s.start) & (one.sent < s.end)
        if s.value > RARE and inside.any():
            wait = max(0.0, float(np.median((one.done - one.sent)[inside])) - wire)
            found.append(Span("errors", s.start, s.end, s.value, s.error, wait, s.count))
    return found


def hangs(one: Attempts, seconds: float) -> tuple[list[Span], Column]:
    """Spans in which attempts never come back, and which attempts those were (bool, shape (n,)).

    An attempt that was given up either hangs, or would have been answered later than that: the first with probability
    p, the second with (1 - p)·P(latency > elapsed). P is read off the instance's own answers, over their local median.
    Where slow attempts have others beside them, the slowest are never answered, so that answers say too little of what
    is slow: those beaten make a hang only where the instance gave up more than it answered.
    """
    hung = np.zeros(len(one), dtype=bool)
    given, answered = one.end == GIVEN_UP, one.end == ANSWERED
    if not given.any() or answered.sum() < FEW:
        return ([Span("hang", 0.0, seconds, count=int(given.sum()))] if given.any() else []), given
    took = one.done - one.sent
    usual = _usual(one.sent, one.sent[answered], took[answered])
    ratio = np.sort((took / usual)[answered])
    tail = _tail(ratio, (took / usual)[given])
    decided = given | answered | (one.end == ERROR)
    stuck = np.zeros(len(one), dtype=bool)
    stuck[given] = tail < UNUSUAL
    beyond = np.ones(len(one))
    beyond[given] = tail
    found = []
    for s in shares(one.sent[decided], stuck[decided], seconds):
        inside = decided & (one.sent >= s.start) & (one.sent < s.end)
        p = _share(given[inside], beyond[inside])
        late = float(inside.sum() * beyond[inside & given].mean()) if (inside & given).any() else 0.0
        if p * inside.sum() < 2.0 or p < UNUSUAL or (inside & given).sum() < TWICE * late + 3.0 * np.sqrt(late):
            continue
        mine = inside & given
        if 2 * (mine & one.beaten).sum() > mine.sum() and mine.sum() < (inside & answered).sum():
            continue
        hung[mine] = p / (p + (1.0 - p) * beyond[mine]) > 0.5
        if hung[mine].any():
            found.append(Span("hang", s.start, s.end, min(1.0, p), s.error, count=int(hung[mine].sum())))
    return found, hung


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
