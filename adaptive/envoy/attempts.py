"""Entries of Envoy's access log to Outcomes: one an attempt, in the columns that the embedded data plane writes.

Envoy tells neither the attempt's number nor what it was followed by: entries of one request carry its id, and are
counted by when they began. What is told twice, as when a stream of the log was cut and opened anew, is taken once.
Entries of attempts still under way come every `logs.UNDER_WAY` and say who is waited for. Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from adaptive import announcement
from adaptive.config.model import ClusterConfig, Config
from adaptive.config.topology import slot_key
from adaptive.envoy.entry import Entry
from adaptive.envoy.steering import Steering
from adaptive.envoy.translate.logs import UNDER_WAY
from adaptive.envoy.translate.routes import REPEATABLE
from adaptive.envoy.unanswered import Told, Unanswered, hedge
from adaptive.telemetry.load_report import load_report
from adaptive.types import Cause, Mark

# Requests that are remembered, in two generations: ten seconds of 6,000 a second, longer than most time-outs.
REMEMBERED = 60_000
# Seconds over which the attempts at once are averaged; the time of one horizon of the model.
BUSY = 1.0
# Seconds after which an attempt under way that is told of no more is taken to have ended untold.
FORGOTTEN = 4 * UNDER_WAY
# A request whose time has passed but for this share of it has run into its route's time-out.
NEARLY = 0.97
_AGAIN = frozenset(REPEATABLE)
_NAN = math.nan
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_SWITCHING = 101
# Plain numbers: an operation on an enumeration costs as much as reading three fields of an entry.
_RESPONSE, _UPGRADED, _RESET_BODY = int(Cause.RESPONSE), int(Cause.UPGRADED), int(Cause.RESET_BODY)
_FINAL, _REPEATABLE, _CENSORED, _HEDGE = map(int, (Mark.FINAL, Mark.REPEATABLE, Mark.CENSORED, Mark.HEDGE))
_BOUNDS = frozenset({Cause.TIMEOUT_ATTEMPT, Cause.TIMEOUT_ROUTE, Cause.CLIENT_GONE, Cause.CANCELLED})


class Endpoint:
    """What an entry's tag names, and how busy it is."""

    __slots__ = ("at_once", "cluster", "name", "slot", "told_at")

    def __init__(self, slot: int, cluster: int, name: str) -> None:
        self.slot = slot
        self.cluster = cluster
        self.name = name  # the cluster's
        self.at_once = 0.0  # attempts at once, on average
        self.told_at = 0.0  # when that was


class Route(NamedTuple):
    """What an entry's route means to us."""

    number: int
    timeout: float
    retries: int
    statuses: frozenset[int]
    hedged: bool  # a slow attempt may have another beside it, and its time-out is none that the configuration names


class Attempts:
    """Reads entries, of all Envoys. `put` takes the fields of a row, in the order of OUTCOME_FIELDS."""

    def __init__(self, put: Callable[..., bool], offset: float) -> None:
        self.put = put
        self.announced: Callable[[int, announcement.Announcement], None] = lambda slot, said: None
        self.offset = offset  # wall clock less monotonic, seconds
        self.seen = 0
        self.twice = 0
        self.unknown: dict[str, int] = {}  # entries of clusters or endpoints that we do not have, by name
        self.early = 0  # entries from a clock that is ahead of ours
        self.open: dict[tuple[str, float], tuple[int, float]] = {}  # under way: (slot, when last told)
        self.unanswered = Unanswered()
        self._endpoints: dict[str, Endpoint] = {}
        self._routes: dict[str, Route] = {}
        self._picked: Callable[[str, int, float], tuple[int, float]] = lambda name, slot, sent_at: (0, 1.0)
        self._young: dict[str, list[float]] = {}  # request → when its attempts began
        self._old: dict[str, list[float]] = {}

    def configure(self, config: Config, slots: Mapping[str, int], steering: Steering) -> None:
        """Another configuration is in force. Endpoints that left are unknown from now on."""
        self._endpoints = {
            key: Endpoint(slots[key], index, name)
            for index, (name, own) in enumerate(config.clusters.items())
            for key in (slot_key(name, endpoint.address) for endpoint in own.endpoints)
        }
        self._routes = {
            rule.name: Route(
                index,
                rule.timeout or math.inf,
                rule.retries,
                frozenset(rule.retry_statuses),
                bool(rule.retries and not rule.attempt_timeout)
                and any(_hedges(config.clusters[name]) for name in rule.clusters),
            )
            for index, rule in enumerate(config.routes)
        }
        self._picked = steering.picked

    def take(self, entry: Entry, worker: int, now: float) -> None:
        """One entry, which came at `now`."""
        endpoint = self._endpoints.get(entry.endpoint)
        if endpoint is None:
            self._strange(entry.endpoint or entry.cluster)
            return
        sent_at = entry.began - self.offset
        key = entry.request
        if entry.under_way:
            self.open[key, sent_at] = (endpoint.slot, now)
            return
        if self.open:
            self.open.pop((key, sent_at), None)
        begun = self._young.get(key)
        if begun is None:
            begun = self._first(key)
        if sent_at in begun:
            self.twice += 1
            return
        begun.append(sent_at)
        self.seen += 1
        if not entry.status and self._may_be_beside_another(entry):
            self.unanswered.put(key, Told(entry, endpoint, worker, sent_at, sent_at + entry.lasted, now))
            return
        marks = 0
        if self.unanswered.held and (beside := self.unanswered.beside(key)):
            marks = self._cancelled(beside, sent_at, now)
        self._row(entry, endpoint, begun, sent_at, worker, now, marks)

    def settle(self, now: float) -> None:
        """Take the attempts without an answer that have waited for another of their request for long enough."""
        for held in self.unanswered.lapsed(now):
            begun = self._begun(held[0])
            route = self._routes[held[0].entry.route]
            spent = max(one.done for one in held) - min(begun)
            cause = Cause.TIMEOUT_ROUTE if spent >= NEARLY * route.timeout else Cause.CLIENT_GONE
            last = max(one.sent_at for one in held)
            for one in held:
                marks = (_HEDGE if hedge(one.sent_at, held) else 0) | (_FINAL if one.sent_at == last else 0)
                self._row(one.entry, one.to, begun, one.sent_at, one.worker, now, marks, cause)

    def _may_be_beside_another(self, entry: Entry) -> bool:
        """Whether an attempt without an answer may have been dropped for another of its request."""
        route = self._routes.get(entry.route)
        if route is None or not route.hedged or entry.method not in _AGAIN:
            return False
        return entry.cause in (None, Cause.TIMEOUT_ATTEMPT)

    def _cancelled(self, beside: list[Told], sent_at: float, now: float) -> int:
        """Take those that were dropped for the attempt sent at `sent_at`, which has not ended; what marks that has."""
        for one in beside:
            marks = _HEDGE if sent_at < one.sent_at or hedge(one.sent_at, beside) else 0
            self._row(one.entry, one.to, self._begun(one), one.sent_at, one.worker, now, marks, Cause.CANCELLED)
        return _HEDGE if hedge(sent_at, beside) else 0

    def _row(
        self,
        entry: Entry,
        to: Endpoint,
        begun: list[float],
        sent_at: float,
        worker: int,
        now: float,
        marks: int,
        ended: Cause | None = None,
    ) -> None:
        """One row; `marks` are those that are known by now, and `ended` is its cause where other entries told it."""
        number = 1 if len(begun) == 1 else 1 + sum(other < sent_at for other in begun)
        seconds = entry.lasted
        if sent_at + seconds > now:  # its clock is ahead of ours, by as much as we can see
            self.early += 1
            sent_at = now - seconds
        after, status = entry.first, entry.status
        again = entry.method in _AGAIN
        route = self._routes.get(entry.route)
        if again:
            marks |= _REPEATABLE
        if ended is not None:
            cause = int(ended)
            marks |= _CENSORED
        elif 0 < status < 500 and status != _SWITCHING and not entry.flagged:
            cause = _RESPONSE
            marks |= _FINAL
        else:
            found = self._cause(entry, sent_at + seconds - min(begun), route, number)
            cause = int(found)
            if found in _BOUNDS:
                marks |= _CENSORED
            if _is_last(found, status, again, number, route):
                marks |= _FINAL
        cpu, app = self._reported(to, entry) if entry.load or entry.said else (_NAN, _NAN)
        busy = to.at_once * math.exp((to.told_at - now) / BUSY) if to.told_at else 0.0
        to.at_once, to.told_at = busy + seconds / BUSY, now
        version, propensity = self._picked(to.name, to.slot, sent_at)
        self.put(
            sent_at,
            sent_at + after if after else _NAN,
            sent_at + seconds,
            hash(entry.request) & _MASK,
            entry.sent,
            entry.received,
            to.slot,
            version,
            int(busy + 0.5),
            propensity,
            entry.waited,
            cpu,
            app,
            to.cluster,
            route.number if route is not None else 0xFFFF,
            status,
            number if number < 256 else 255,
            cause,
            marks,
            worker,
        )

    def _reported(self, to: Endpoint, entry: Entry) -> tuple[float, float]:
        """What the endpoint reports of its load; what it announces of itself is told on at once."""
        if entry.said and (announced := announcement.parse(entry.said)) is not None:
            self.announced(to.slot, announced)
        return load_report([entry.load.encode()]) if entry.load else (_NAN, _NAN)

    def _cause(self, entry: Entry, since: float, route: Route | None, number: int) -> Cause:
        """How an attempt ended; `since` is the time since the request's first attempt began."""
        found, status = entry.cause, entry.status
        if status:
            if found in (Cause.PROTOCOL_ERROR, Cause.RESET):
                return Cause.RESET_BODY
            if found in (Cause.CLIENT_GONE, Cause.TIMEOUT_ROUTE, Cause.CLIENT_ERROR):
                return found
            return Cause.UPGRADED if status == _SWITCHING else Cause.RESPONSE
        if found == Cause.CONNECT_FAILED:
            reason = entry.reason
            if "refused" in reason:
                return Cause.CONNECT_REFUSED
            return Cause.CONNECT_TIMEOUT if "time" in reason else found
        if found in (None, Cause.TIMEOUT_ATTEMPT):
            if route is not None and since >= NEARLY * route.timeout:
                return Cause.TIMEOUT_ROUTE
            if found is None:
                return Cause.CLIENT_GONE if number == 1 else Cause.CANCELLED
        return found

    def _begun(self, one: Told) -> list[float]:
        """When the attempts of its request began."""
        key = one.entry.request
        return self._young.get(key) or self._old.get(key) or [one.sent_at]

    def _first(self, key: str) -> list[float]:
        """When the attempts of a request began that were told of so far, for the first of a while."""
        if len(self._young) > REMEMBERED // 2:
            self._old, self._young = self._young, {}
        found = self._young[key] = self._old.pop(key, [])
        return found

    def _strange(self, name: str) -> None:
        if name in self.unknown or len(self.unknown) < 100:  # what strangers send must not fill the memory
            self.unknown[name] = self.unknown.get(name, 0) + 1

    def live(self, now: float) -> tuple[dict[int, int], dict[int, float]]:
        """(attempts in flight, when the oldest under way began), by slot, as far as entries tell."""
        counts = {
            one.slot: int(one.at_once * math.exp((one.told_at - now) / BUSY) + 0.5)
            for one in self._endpoints.values()
            if one.told_at
        }
        oldest: dict[int, float] = {}
        waiting: dict[int, int] = {}
        for key, (slot, told_at) in list(self.open.items()):
            if now - told_at > FORGOTTEN:
                del self.open[key]
                continue
            oldest[slot] = min(oldest.get(slot, math.inf), key[1])
            waiting[slot] = waiting.get(slot, 0) + 1
        for slot, number in waiting.items():
            counts[slot] = max(counts.get(slot, 0), number)
        return counts, oldest


def _hedges(own: ClusterConfig) -> bool:
    """Whether slow attempts of a cluster may have another beside them."""
    return own.policy == "adaptive" and own.hedging.enabled


def _is_last(cause: Cause, status: int, again: bool, number: int, route: Route | None) -> bool:
    """Whether what the client saw came of this attempt: nothing follows, as far as the route's rules tell."""
    if cause == Cause.CANCELLED:
        return False
    if route is None or number > route.retries or cause in (Cause.TIMEOUT_ROUTE, Cause.CLIENT_GONE, Cause.RESET_BODY):
        return True
    if cause == Cause.RESPONSE:
        return not (again and status in route.statuses)
    if cause in (Cause.CONNECT_REFUSED, Cause.CONNECT_TIMEOUT, Cause.CONNECT_FAILED):
        return False
    return not again
