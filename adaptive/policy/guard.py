"""What may not happen, whatever the evidence says. The guard sees every downward move before it is made.

- A blind observer moves nobody down: while the gateway's own loops run late or outcomes are lost, what looks like a
  failing endpoint may be the gateway.
- Never more load than the rest can bear, in units of load: the cluster's served rate, divided by what the healthy
  endpoints that remain are known to bear, must stay under BEARABLE. An endpoint that serves nothing takes nothing away.
- While the whole cluster is slow by its own past, it is load and not its endpoints: only the useless go.
- A cap on change per tick, at least one endpoint that serves, and panic as the last rail.
- Lowered endpoints are taken back, the least bad first, when the rest is overloaded after all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adaptive.types import Health
from models.columns import Bools, Floats, Ints

BEARABLE = 0.85  # expected utilisation of the rest after a move; queues of a few servers grow steeply beyond it
OVERLOADED = 1.0  # and at which lowered endpoints are called back; the gap to BEARABLE is the hysteresis
# Below this share of usable weight, health is ignored: the Envoy default. With half gone, either the rest cannot bear
# twice their load, or it is not the endpoints that are ill.
PANIC = 0.5
STEP = 0.25  # most of a cluster's weight moved down in one tick, one endpoint always allowed
LAG = 0.25  # seconds the observer may run late within BLIND seconds: beyond, a quarter of what it saw is its own delay
BLIND = 1.0  # seconds the observer stays blind after its last lateness: the shortest window, to be clean again
HEADROOM = 1.5  # an endpoint not seen overloaded is taken to bear half as much again as the most it has borne well
LEAST_SLOTS = 2.0  # attempts at a time that any endpoint is taken to bear
FORGET = 300.0  # seconds in which a learned capacity falls to 37 %, towards what is seen now
INFLATED = 2.0  # latency by the endpoint's own base at which it is overloaded
WELL = 1.5  # and below which it bears its load well

USELESS = 2.0  # badness of an endpoint that serves nothing, above any suspicion: not to be called back

_USABLE = (Health.HEALTHY, Health.DEGRADED)


class Capacity:
    """What each endpoint has been seen to bear, in attempts per second; columns (slots,).

    Base latency: the least 1 s mean seen, rising by 37 % in FORGET seconds. While latency stays under WELL times it,
    the greatest rate served counts as borne; beyond INFLATED times it, the rate served is all there is.
    """

    def __init__(self, slots: int) -> None:
        self.base = np.full(slots, np.nan)
        self.borne = np.zeros(slots)
        self.most = np.full(slots, np.inf)  # seen at overload
        self.inflation = np.full(slots, np.nan)  # latency by base, at the last look
        self.at = float("nan")

    def learn(self, at: float, rate: Floats, latency: Floats, failing: Bools) -> None:
        """Learns from the last second: rate of successes, mean latency (NaN: none), and whether it was failing."""
        fade = np.exp(-(at - self.at) / FORGET) if not math.isnan(self.at) else 1.0
        self.at = at
        known = ~(np.isnan(latency) | failing)
        np.fmin(latency, self.base / fade, out=self.base, where=known)
        self.inflation = latency / self.base
        well = known & (self.inflation <= WELL)
        np.maximum(rate, self.borne, out=self.borne, where=well)
        self.borne *= fade
        self.most /= fade
        np.copyto(self.most, rate, where=known & (self.inflation >= INFLATED))
        np.maximum(rate, self.most, out=self.most, where=well)

    def estimate(self, slots: Ints) -> Floats:
        """Attempts per second that each of these endpoints can bear; infinite where nothing is known."""
        base = self.base[slots]
        with np.errstate(divide="ignore", invalid="ignore"):
            bear = np.minimum(np.maximum(self.borne[slots] * HEADROOM, LEAST_SLOTS / base), self.most[slots])
        return np.where(np.isnan(base), np.inf, bear)

    def strain(self, slots: Ints) -> float:
        """The median of these endpoints' latency by their own base; 1 where nothing is known."""
        known = self.inflation[slots]
        known = known[~np.isnan(known)]
        return float(np.median(known)) if len(known) else 1.0

    def adopt(self, old: Capacity, stay: list[int]) -> None:
        """Takes over what an older one learned of the endpoints in the slots `stay`."""
        for mine, theirs in ((self.base, old.base), (self.borne, old.borne), (self.most, old.most)):
            mine[stay] = theirs[stay]
        self.at = old.at


class Load(NamedTuple):
    """A cluster's endpoints as the guard sees them, in the order of its members."""

    weight: Sequence[float]  # configured
    rate: float  # attempts per second of the whole cluster
    capacity: Sequence[float]  # attempts per second each
    inflation: float = 1.0  # the median endpoint's latency by its own base


class Wish(NamedTuple):
    """A downward move that the ladder proposes for the member at `place`."""

    place: int
    to: Health
    badness: float
    useless: bool


class Ruling(NamedTuple):
    """What the guard allows: places of the wishes granted, the reason for each refusal, places to take back."""

    granted: list[int]
    refused: dict[int, str]
    recalled: list[int]


def utilisation(load: Load, health: Sequence[Health]) -> float:
    """Expected utilisation of the healthy endpoints, when they bear all of the cluster's load."""
    room = sum(c for c, h in zip(load.capacity, health, strict=True) if h == Health.HEALTHY)
    return load.rate / room if room > 0 else float("inf") if load.rate > 0 else 0.0


def rule(load: Load, health: Sequence[Health], badness: Sequence[float], wishes: list[Wish], blind: str) -> Ruling:
    """Decides on the downward moves of one tick, the worst endpoint first. `blind` says why the observer cannot be
    trusted, and is empty while it can.
    """
    now = list(health)
    granted: list[int] = []
    refused: dict[int, str] = {}
    total = sum(load.weight)
    moved = 0.0
    for wish in sorted(wishes, key=lambda w: (-w.useless, -int(w.to), -w.badness, w.place)):
        reason = blind
        after = list(now)
        after[wish.place] = wish.to
        leaves = now[wish.place] == Health.HEALTHY
        if not reason and granted and leaves and moved + load.weight[wish.place] > STEP * total:
            reason = "enough was moved in this tick"
        if not reason and wish.to not in _USABLE and not any(h in _USABLE for h in after):
            reason = "it is the last one that serves"
        if not reason and leaves and not wish.useless:
            expected = utilisation(load, after)
            if load.inflation >= INFLATED:
                reason = f"the whole cluster is slow, {load.inflation:.1f} times its own best"
            elif expected > BEARABLE:
                reason = f"the rest would be at {min(expected, 99.0):.0%} of what they are known to bear"
        if reason:
            refused[wish.place] = reason
            continue
        granted.append(wish.place)
        moved += load.weight[wish.place] if leaves else 0.0
        now = after
    recalled = []
    lowered = [i for i, h in enumerate(now) if h == Health.DEGRADED and i not in granted and badness[i] < USELESS]
    if lowered and utilisation(load, now) > OVERLOADED:
        recalled = [min(lowered, key=lambda i: (badness[i], i))]
    return Ruling(granted, refused, recalled)


def panics(weight: Sequence[float], health: Sequence[Health], by_hand: Sequence[bool]) -> bool:
    """Whether health must be ignored. Endpoints that an operator took out, or that drain, count neither way."""
    counted = [(w, h) for w, h, hand in zip(weight, health, by_hand, strict=True) if not hand and h != Health.DRAINING]
    usable = sum(w for w, h in counted if h in _USABLE)
    blocked = all(h in (Health.EJECTED, Health.DRAINING) for h in health)
    return bool(health) and (blocked or (bool(counted) and usable < PANIC * sum(w for w, _ in counted)))


class Observer:
    """How well the gateway itself sees. `blind` is the reason not to act, empty while it sees well."""

    def __init__(self) -> None:
        self.late: list[tuple[float, float]] = []  # (when, seconds) within BLIND; bounded by the ticks in it
        self.until = float("-inf")
        self.reason = ""
        self.lost = 0
        self.lag = 0.0

    def saw(self, at: float, lag: float, lost: int) -> None:
        """Adds one report of the data plane."""
        self.late = [(when, seconds) for when, seconds in self.late if at - when < BLIND][-99:]
        if lag > 0:
            self.late.append((at, lag))
        self.lost += lost
        self.lag = sum(seconds for _, seconds in self.late)
        if lost > 0:
            self.until, self.reason = at + BLIND, f"{lost} outcomes were lost"
        elif self.lag > LAG:
            self.until, self.reason = at + BLIND, f"the gateway itself ran {self.lag:.2f} s late"

    def blind(self, at: float) -> str:
        """Why nobody may be moved down now; empty when they may."""
        return self.reason if at < self.until else ""
