"""One instance over time: its servers, how fast it was, and its service times apart from both.

Attempts that nobody waited for to the end are kept: as lower bounds of a service time, and as a server that goes on
being busy for as long as the rest is drawn to be. Levels are natural logarithms of seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from replay.evaluation.attempts import ANSWERED, CUT, GIVEN_UP, Attempts, Column, Floats
from replay.evaluation.queueing import SHORTEST, Slots, begin, likelihood, slots, together
from replay.evaluation.segments import Segment, levels
from replay.evaluation.spans import BURST, Span
from replay.evaluation.survival import rest

ROUNDS = 4  # of expectation and maximisation; the levels move by less than 1 % after the third
CHANGE = 1.0  # seconds, the least time for which a number of servers is taken to hold
SWITCH = 12.0  # log-likelihood that a change of it must gain
LEAST = 12  # answers from which servers and speed can be told at all


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of one instance's service."""

    slots: Slots
    shrunk: tuple[Segment, ...]  # spans with fewer servers than `slots.best`; `value` is how many
    levels: tuple[Segment, ...]  # mean of log service time, by stretch
    spread: float  # of log service time around it
    residual: Floats  # log service time less its level, shape (n,)
    bound: Column  # bool, shape (n,): the residual is a lower bound
    inside: Floats  # attempts that were in the instance when each of those arrived
    slope: float  # growth of log service time with each attempt inside, beyond what queueing explains
    slope_error: float


def served(
    one: Attempts, hung: Column, paused: list[Span], wire: float, seconds: float, rng: np.random.Generator
) -> Served | None:
    """Fits one instance; None where it answered too little to say anything."""
    mine = (np.isin(one.end, (ANSWERED, CUT)) | (one.end == GIVEN_UP)) & ~hung
    order = np.argsort(one.sent[mine], kind="stable")
    arrived = (one.sent[mine] + wire / 2)[order]
    left = np.maximum((one.done[mine] - wire / 2)[order], arrived)
    end = one.end[mine][order]
    dropped = end != ANSWERED
    if int((~dropped).sum()) < LEAST:
        return None
    known = ~dropped & ~_held(arrived, left, paused)
    if int(known.sum()) < LEAST:
        return None
    found = slots(arrived, left, dropped, known)
    servers, shrunk = _servers(arrived, left, dropped, known, found, seconds)
    best = max(found.best, int(servers.max()))
    found = Slots(best, min(found.low, best), max(found.high, best), found.seen, found.candidates, found.chance)
    until, spread = left.copy(), 0.6
    pieces: list[Segment] = []
    for _ in range(ROUNDS):
        start = begin(arrived, left, dropped, servers, until)
        start = _after(start, paused)
        log = np.log(np.maximum(left - start, SHORTEST))
        used = np.isfinite(start) & ~_held(start, left, paused) & (left >= start)
        sure, cut = used & ~dropped, used & (end == GIVEN_UP) & (left - start > SHORTEST)
        if sure.sum() < LEAST:
            return None
        level = _level(pieces, start) if pieces else np.full(len(log), float(np.median(log[sure])))
        guess = log.copy()
        guess[cut], above = rest(log[cut], level[cut], spread)
        both = sure | cut
        pieces = levels(start[both], guess[both], spread, seconds)
        level = _level(pieces, start)
        spread = max(0.02, float(np.sqrt(np.mean(np.clip((log - level)[sure], -4 * spread, 4 * spread) ** 2))))
        u = 1.0 - above * rng.random(len(above))
        draw = np.exp(level[cut] + spread * ndtri(np.minimum(u, 1.0 - 1e-9)))
        until = left.copy()
        until[cut] = np.maximum(left[cut], start[cut] + draw)
    residual = (log - level)[both]
    inside = together(arrived, left)
    slope, error = _slope(inside[sure], (log - level)[sure])
    return Served(found, tuple(shrunk), tuple(pieces), spread, residual, cut[both], inside[both], slope, error)


def _level(pieces: list[Segment], at: Floats) -> Floats:
    starts = np.array([s.start for s in pieces])
    values = np.array([s.value for s in pieces])
    where = np.searchsorted(starts, np.nan_to_num(at), side="right") - 1
    return np.asarray(values[np.clip(where, 0, len(values) - 1)])


def _after(start: Floats, paused: list[Span]) -> Floats:
    """What begins in a pause begins, as far as its service goes, when the pause is over."""
    out = start.copy()
    for p in paused:
        out[(out >= p.start) & (out < p.end)] = p.end
    return out


def _held(start: Floats, left: Floats, paused: list[Span]) -> Column:
    """Whether a pause held an answer back: then its service time is unknown but for a range."""
    out = np.zeros(len(start), dtype=bool)
    for p in paused:
        out |= (start < p.start) & (left >= p.start) & (left <= p.end + BURST)
    return out


def _slope(inside: Floats, residual: Floats) -> tuple[float, float]:
    x = inside - inside.mean()
    power = float((x * x).sum())
    if power <= 0.0 or len(x) < 3:
        return 0.0, float("inf")
    slope = float((x * residual).sum() / power)
    return slope, float(np.std(residual - slope * x) / np.sqrt(power))


def _servers(
    arrived: Floats, left: Floats, dropped: Column, known: Column, found: Slots, seconds: float
) -> tuple[Column, list[Segment]]:
    """How many servers there were at each arrival, and the spans with fewer than at most: the likeliest path."""
    have = np.full(len(arrived), found.best)
    tried = [c for c in found.candidates if c <= found.best]
    if len(tried) < 2 or len(arrived) < 10 * LEAST:
        return have, []
    cells = max(1, int(seconds / CHANGE))
    where = np.clip((arrived[known] / CHANGE).astype(int), 0, cells - 1)
    score = np.array([np.bincount(where, likelihood(arrived, left, dropped, known, c), cells) for c in tried])
    path = _path(score)
    count = np.array([tried[i] for i in path])
    most = int(count.max())
    have = count[np.clip((arrived / CHANGE).astype(int), 0, cells - 1)]
    spans = []
    edges = np.flatnonzero(np.r_[True, np.diff(count) != 0, True])
    for a, b in pairwise(edges):
        if count[a] < most:
            end = seconds if b == cells else float(b * CHANGE)
            inside = int(((where >= a) & (where < b)).sum())
            spans.append(Segment(float(a * CHANGE), end, float(count[a]), 0.0, inside))
    return have, spans


def _path(score: Floats) -> Column:
    """The likeliest state in each cell, shape (cells,), of `score` (states, cells): Viterbi's algorithm."""
    states, cells = score.shape
    best, back = score[:, 0].copy(), np.zeros((states, cells), dtype=int)
    for k in range(1, cells):
        jump = int(np.argmax(best))
        stay = best >= best[jump] - SWITCH
        back[:, k] = np.where(stay, np.arange(states), jump)
        best = np.where(stay, best, best[jump] - SWITCH) + score[:, k]
    path = np.empty(cells, dtype=int)
    path[-1] = int(np.argmax(best))
    for k in range(cells - 1, 0, -1):
        path[k - 1] = back[path[k], k]
    return path
