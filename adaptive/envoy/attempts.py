"""Entries of Envoy's access log to Outcomes: one an attempt, in the columns that the embedded data plane writes.

Envoy tells neither the attempt's number nor what it was followed by: entries of one request carry its id, and are
counted by when they began. What is told twice, as when a stream of the log was cut and opened anew, is taken once.
Entries of attempts still under way come every `logs.UNDER_WAY` and say who is waited for. Pure: time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

from adaptive import announcement
from adaptive.config.model import ClusterConfig, Config
from adaptive.config.topology import slot_key
from adaptive.envoy.entry import Entry
from adaptive.envoy.seen import Begun, Seen
from adaptive.envoy.steering import Steering
from adaptive.envoy.translate.logs import UNDER_WAY
from adaptive.envoy.translate.routes import REPEATABLE
from adaptive.envoy.unanswered import Told, Unanswered, hedge
from adaptive.telemetry.load_report import load_report
from adaptive.types import Cause, Mark

# Seconds over which the attempts at once are averaged; the time of one horizon of the model.
BUSY = 1.0
# Seconds after which an attempt under way that is told of no more is taken to have ended untold.
FORGOTTEN = 4 * UNDER_WAY
STEP = 0.1  # seconds by which a clock has to be set for it to count
# A request whose time has passed but for this share of it has run into its route's time-out.
NEARLY = 0.97
AGAIN = frozenset(REPEATABLE)  # methods
_NAN = math.nan
MASK = 0xFFFF_FFFF_FFFF_FFFF
SWITCHING = 101
NO_ROUTE = 0xFFFF  # a route that is in the configuration no more
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

    def busy(self, now: float) -> float:
        """Attempts at once, on average over the last `BUSY` seconds."""
        return self.at_once * math.exp((self.told_at - now) / BUSY) if self.told_at else 0.0

    def spent(self, seconds: float, now: float) -> float:
        """Attempts that took so long together have ended; how busy it was before."""
        busy = self.busy(now)
        self.at_once, self.told_at = busy + seconds / BUSY, now
        return busy


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
        self.count = 0  # attempts that were told of
        self.twice = 0
        self.unknown: dict[str, int] = {}  # entries of clusters or endpoints that we do not have, by name
        self.early = 0  # entries from a clock that is ahead of ours
        # Those under way, by request and by when they were sent: (slot, when last told).
        self.open: dict[str, dict[float, tuple[int, float]]] = {}
        self.unanswered = Unanswered()
        self.seen = Seen()
        self.endpoints: list[Endpoint] = []
        self.numbers: dict[str, int] = {}  # an endpoint's place among them, by its stable name
        self.steering: Steering
        self._routes: dict[str, Route] = {}

    def configure(self, config: Config, slots: Mapping[str, int], steering: Steering) -> None:
        """Another configuration is in force. Endpoints that left are unknown from now on."""
        named = {
            slot_key(name, endpoint.address): (index, name)
            for index, (name, own) in enumerate(config.clusters.items())
            for endpoint in own.endpoints
        }
        self.endpoints = [Endpoint(slots[key], *cluster) for key, cluster in named.items()]
        self.numbers = {key: number for number, key in enumerate(named)}
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
        self.steering = steering

    def set_clock(self, offset: float) -> None:
        """Wall clock less monotonic, as it is now. Small changes are let be: one attempt is told of more than once, and
        known again by when it began.
        """
        if abs(offset - self.offset) > STEP:
            self.offset = offset

    def take(self, entry: Entry, worker: int, now: float) -> None:
        """One entry, which came at `now`."""
        number = self.numbers.get(entry.endpoint)
        if number is None:
            self._strange(entry.endpoint)
            return
        endpoint = self.endpoints[number]
        sent_at = entry.began - self.offset
        key = entry.request
        if entry.under_way:
            self.open.setdefault(key, {})[sent_at] = (endpoint.slot, now)
            return
        if self.open:
            self._ended(key, sent_at)
        if sent_at in self.seen.begun(key):
            self.twice += 1
            return
        begun = self.seen.add(key, sent_at)
        self.count += 1
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

    def route(self, name: str) -> int:
        """A route's number in a row."""
        found = self._routes.get(name)
        return found.number if found is not None else NO_ROUTE

    def met(self, requests: Set[str]) -> Set[str]:
        """Those of these requests of which an attempt was told already, or is waited for."""
        return self.seen.among(requests) | (self.open.keys() & requests) | (self.unanswered.held.keys() & requests)

    def _ended(self, request: str, sent_at: float) -> None:
        """An attempt is not under way any more."""
        under_way = self.open.get(request)
        if under_way is not None:
            under_way.pop(sent_at, None)
            if not under_way:
                del self.open[request]

    def _may_be_beside_another(self, entry: Entry) -> bool:
        """Whether an attempt without an answer may have been dropped for another of its request."""
        route = self._routes.get(entry.route)
        if route is None or not route.hedged or entry.method not in AGAIN:
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
        begun: Begun,
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
        again = entry.method in AGAIN
        route = self._routes.get(entry.route)
        if again:
            marks |= _REPEATABLE
        if ended is not None:
            cause = int(ended)
            marks |= _CENSORED
        elif 0 < status < 500 and status != SWITCHING and not entry.flagged:
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
        busy = to.spent(seconds, now)
        version, propensity = self.steering.picked(to.name, to.slot, sent_at)
        self.put(
            sent_at,
            sent_at + after if after else _NAN,
            sent_at + seconds,
            hash(entry.request) & MASK,
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
            route.number if route is not None else NO_ROUTE,
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
            return Cause.UPGRADED if status == SWITCHING else Cause.RESPONSE
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

    def _begun(self, one: Told) -> Begun:
        """When the attempts of its request began."""
        return self.seen.begun(one.entry.request) or (one.sent_at,)

    def _strange(self, name: str) -> None:
        if name in self.unknown or len(self.unknown) < 100:  # what strangers send must not fill the memory
            self.unknown[name] = self.unknown.get(name, 0) + 1

    def live(self, now: float) -> tuple[dict[int, int], dict[int, float]]:
        """(attempts in flight, when the oldest under way began), by slot, as far as entries tell."""
        counts = {one.slot: int(one.busy(now) + 0.5) for one in self.endpoints if one.told_at}
        oldest: dict[int, float] = {}
        waiting: dict[int, int] = {}
        for request, under_way in list(self.open.items()):
            for sent_at, (slot, told_at) in list(under_way.items()):
                if now - told_at > FORGOTTEN:
                    self._ended(request, sent_at)
                    continue
                oldest[slot] = min(oldest.get(slot, math.inf), sent_at)
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
