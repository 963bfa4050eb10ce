"""Spans in which an instance did not serve as usual: down, paused, or answering with errors (`hangs` has those hung).

Each is found from the outcomes of the attempts that were sent there, without knowing how the instance serves: these
attempts must be set apart before its queue can be rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import poisson

from replay.evaluation.attempts import ANSWERED, CUT, ERROR, GIVEN_UP, REFUSED, UNREACHABLE, Attempts, Floats
from replay.evaluation.segments import shares

# A gap in an instance's answers and the burst at its end make a pause if chance would do so once in e**16 answers.
SURPRISE = 16.0
BURST = 0.004  # seconds in which what a pause held back comes out
LEAST_BURST = 2
AROUND = 2.0  # seconds in which others say what is usual
LEAST_PAUSE = 0.02  # seconds
FEW = 5  # answers that make a median
MOSTLY = 0.8  # share of refusals from which an instance counts as down rather than erring
RARE = 0.001  # share of errors that is not worth a fault
# Of a moment that is not known exactly, the probabilities at which its quantiles are kept; so many that MIDDLE is the
# median.
PROBABILITIES: Floats = (np.arange(21) + 0.5) / 21
MIDDLE = len(PROBABILITIES) // 2


@dataclass(frozen=True, slots=True)
class Span:
    """One fault, as it was seen. `p`: its probability, with its standard error; 1 where it is certain.

    Where attempts tell but roughly when it began and ended, `starts` and `ends` are the quantiles of both at
    PROBABILITIES, and `start` and `end` their medians.
    """

    kind: str
    start: float
    end: float
    p: float = 1.0
    error: float = 0.0
    seconds: float = 0.0  # until the answer, of errors
    count: int = 0  # attempts that it was seen in
    starts: tuple[float, ...] = ()
    ends: tuple[float, ...] = ()
    chance: float = 1.0  # that it was there at all


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
    for kind, how in (("down", (REFUSED, CUT)), ("unreachable", (UNREACHABLE,))):
        hit = np.isin(one.end, how)
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
            first, last = float(at[inside].min()), float(at[inside].max())
            answered = one.end == ANSWERED
            starts = between(float(one.done[answered & (one.done <= first)].max(initial=0.0)), first)
            ends = between(last, float(one.sent[~hit & (one.sent > last)].min(initial=max(seconds, last + 1e-3))))
            start, end = starts[MIDDLE], ends[MIDDLE]
            found.append(Span(kind, start, end, count=int(inside.sum()), starts=starts, ends=ends))
    return found


def between(start: float, end: float) -> tuple[float, ...]:
    """Quantiles of a moment that is anywhere between two alike."""
    return tuple((start + (end - start) * PROBABILITIES).tolist())


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
