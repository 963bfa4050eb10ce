"""Chances: how likely each lane is to be picked by a live policy's balancer in the state that it is in.

Asking changes nothing of what the balancer does next: no chance is drawn. The probabilities are those of the picks in
`adaptive.picks` and `adaptive.fast`, for fleets of one priority. Round robin has no chance in it; over the unknown turn
at which a request meets it, every lane gets its weight's share.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from adaptive.fast import FastLoop
from adaptive.grading import POINT
from adaptive.lanes import Lane
from adaptive.picks import LeastRequest, Random, RoundRobin, chance


class NoDistribution(ValueError):
    """A policy cannot say how likely its picks are; the message says which."""


def known(balancer: Any) -> None:
    """Raises NoDistribution where `chances` would."""
    if hasattr(balancer, "distribution"):
        return
    if not isinstance(balancer, (RoundRobin, Random, LeastRequest, FastLoop)):
        raise NoDistribution(f"{type(balancer).__name__} does not say how likely each of its picks is")
    if len(balancer.tiers) > 1:
        raise NoDistribution(f"{type(balancer).__name__} does not say how likely each pick is with several priorities")


def chances(balancer: Any, now: float, repeatable: bool, tried: Collection[int] = ()) -> list[float]:
    """Probability of each of `balancer.lanes`, in their order; of a balancer that is `known`."""
    if hasattr(balancer, "distribution"):
        told: list[float] = balancer.distribution(now, repeatable, tried)
        return told
    if isinstance(balancer, FastLoop):
        lanes, shares = _fast(balancer, now, repeatable, tried)
    else:
        lanes, _ = balancer.candidates(now, tried)
        if isinstance(balancer, LeastRequest):
            shares = _two_choices(lanes, [balancer.cost(lane, now) for lane in lanes])
        else:
            whole = sum(lane.weight for lane in lanes)
            shares = [lane.weight / whole for lane in lanes]
    place = {lane.slot: p for lane, p in zip(lanes, shares, strict=True)}
    return [place.get(lane.slot, 0.0) for lane in balancer.lanes]


def _two_choices(lanes: Sequence[Lane], cost: Sequence[float]) -> list[float]:
    """The better of two: distinct ones where all weigh the same, else each drawn by weight."""
    n = len(lanes)
    if n < 2:
        return [1.0] * n
    if len({lane.weight for lane in lanes}) == 1:
        pairs = n * (n - 1)
        return [(2 * sum(other > mine for other in cost) + cost.count(mine) - 1) / pairs for mine in cost]
    weight = [float(lane.weight) for lane in lanes]
    whole = sum(weight) ** 2
    found = []
    for mine, own in zip(cost, weight, strict=True):
        worse = sum(w for c, w in zip(cost, weight, strict=True) if c > mine)
        equal = sum(w for c, w in zip(cost, weight, strict=True) if c == mine) - own
        found.append(own * (own + 2.0 * worse + equal) / whole)
    return found


def _fast(loop: FastLoop, now: float, repeatable: bool, tried: Collection[int]) -> tuple[list[Lane], list[float]]:
    """The smallest score, ties alike; and a share of the repeatable ones for idle lanes that would get none."""
    if now >= loop.due:
        loop._refresh(now)
    column = loop.reads if repeatable else loop.writes
    indexes = [i for i, lane in enumerate(loop.ring) if lane.slot not in tried] or list(range(len(loop.ring)))
    lanes, scores = [loop.ring[i] for i in indexes], [column[i] for i in indexes]
    if not lanes:
        return [], []
    shares = [chance(scores, i) for i in range(len(scores))]
    if repeatable and not tried and loop.probes and min(scores) < POINT:
        best = min(scores)
        idle = {x.slot for x in loop.probes if not x.in_flight and not x.others and loop.reads[x.index] > best}
        if idle:
            part = loop.explore / len(idle)
            shares = [(1.0 - loop.explore) * p + part * (x.slot in idle) for x, p in zip(lanes, shares, strict=True)]
    return lanes, shares
