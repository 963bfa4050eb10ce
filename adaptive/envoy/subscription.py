"""What one Envoy has subscribed to, has, and has refused: the state of one ADS stream, in either protocol. Pure.

Of each type one response is under way at most; what changes meanwhile goes out together when it is answered, so a slow
Envoy gets fewer and larger responses, and nothing queues. Listeners and routes wait until the Envoy has taken the
clusters and endpoints that they may need. What an Envoy refuses it keeps the last good version of; it is not sent
again before it changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from adaptive.envoy.cache import Cache, kind_of
from adaptive.envoy.translate.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES

_NEEDED = {LISTENER: (CLUSTER, ENDPOINTS), ROUTES: (CLUSTER, ENDPOINTS, LISTENER)}
_WILDCARD = "*"


class Request(NamedTuple):
    """What either protocol's request says."""

    type_url: str
    nonce: str
    error: str | None  # a refusal's words
    subscribe: tuple[str, ...]  # of the plain protocol: all names that are wanted
    unsubscribe: tuple[str, ...] = ()
    has: tuple[tuple[str, str], ...] = ()  # (name, version) that it brings along, of the delta protocol


class Response(NamedTuple):
    """What is to be sent of one type."""

    kind: str
    nonce: str
    version: str
    names: tuple[str, ...]
    removed: tuple[str, ...]


class Answer(NamedTuple):
    """An Envoy's answer to a response."""

    kind: str
    names: tuple[str, ...]
    version: str
    error: str | None


@dataclass(slots=True)
class _Type:
    """One type within a stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    has: dict[str, str] = field(default_factory=dict)  # what it was sent, by version; what it refused too
    nonce: str = ""  # of the response under way; empty: none is
    sent: Response | None = None
    seen: int = -1  # the cache's number when it was last looked at
    refused: str | None = None
    owed: bool = False  # it asked, and is to be answered even if with nothing
    asked: bool = False

    def wanted(self, known: Iterable[str]) -> list[str]:
        return list(known) if self.wildcard else [name for name in known if name in self.names]


class Stream:
    """One stream. `delta`: in the incremental protocol."""

    def __init__(self, delta: bool) -> None:
        self.delta = delta
        self.types: dict[str, _Type] = {}
        self._count = 0

    def take(self, request: Request) -> Answer | None:
        """A request; the answer that it is, where it is one. One of a type that we do not have is passed over."""
        kind = kind_of(request.type_url)
        if kind is None:
            return None
        own = self.types.setdefault(kind, _Type())
        answer = None
        if request.nonce:
            if request.nonce == own.nonce and own.sent is not None:
                answer = Answer(kind, own.sent.names, own.sent.version, request.error)
                own.nonce, own.refused = "", request.error
            elif not self.delta:
                return None  # of a response that a later one has overtaken
        own.seen = -1
        if self.delta:
            self._subscribe(own, request, kind)
        else:
            self._replace(own, request, kind)
        own.asked = True
        return answer

    def _subscribe(self, own: _Type, request: Request, kind: str) -> None:
        if not own.asked:
            own.has = dict(request.has)
            own.wildcard = not request.subscribe and kind in (CLUSTER, LISTENER)
            own.owed = own.wildcard
        for name in request.subscribe:
            if name == _WILDCARD:
                own.wildcard = own.owed = True
            else:
                own.names.add(name)
                own.owed = True
        for name in request.unsubscribe:
            own.names.discard(name)
            own.has.pop(name, None)
            own.wildcard = own.wildcard and name != _WILDCARD

    def _replace(self, own: _Type, request: Request, kind: str) -> None:
        names = set(request.subscribe)
        own.wildcard = (not names and kind in (CLUSTER, LISTENER)) or _WILDCARD in names
        if not own.asked or names - own.names:
            own.owed = True
        for name in own.names - names:
            own.has.pop(name, None)
        own.names = names - {_WILDCARD}

    def due(self, cache: Cache) -> list[Response]:
        """What is to be sent now."""
        found = []
        for kind in TYPES:
            own = self.types.get(kind)
            if own is None or own.nonce or (own.seen == cache.number[kind] and not own.owed):
                continue
            if any(not self._settled(cache, needed) for needed in _NEEDED.get(kind, ())):
                continue
            response = self._response(cache, kind, own)
            if response is not None:
                found.append(response)
        return found

    def _settled(self, cache: Cache, kind: str) -> bool:
        """Whether the Envoy has all of a type that it wants, and has not refused the last of it."""
        own = self.types.get(kind)
        if own is None:
            return kind == ENDPOINTS and not cache.held[ENDPOINTS]
        held = cache.held[kind]
        has = own.has
        return not own.nonce and not own.refused and all(has.get(n) == held[n].version for n in own.wanted(held))

    @property
    def calm(self) -> bool:
        """Whether listeners and routes are taken, so that none names a cluster that is no more."""
        return all(not own.nonce for kind, own in self.types.items() if kind in (LISTENER, ROUTES))

    def behind(self, cache: Cache) -> bool:
        """Whether the Envoy lacks something that it wants and has not refused."""
        return any(not own.refused and not self._settled(cache, kind) for kind, own in self.types.items())

    def _response(self, cache: Cache, kind: str, own: _Type) -> Response | None:
        held = cache.held[kind]
        wanted = own.wanted(held)
        changed = [name for name in wanted if own.has.get(name) != held[name].version]
        removed = [name for name in own.has if name not in held]
        own.seen = cache.number[kind]
        if not changed and not removed and not own.owed:
            return None
        if not self.delta and not changed and not removed and own.has and not wanted:
            own.owed = False
            return None
        own.owed = False
        self._count += 1
        names = tuple(changed) if self.delta else tuple(wanted)
        for name in names:
            own.has[name] = held[name].version
        for name in removed:
            del own.has[name]
        version = cache.version(kind, names)
        gone = tuple(removed) if self.delta else ()
        own.nonce = f"{self._count}"
        own.sent = Response(kind, own.nonce, version, names, gone)
        return own.sent
