"""HAR 1.2, as browsers and proxies save it: what one client saw. An endpoint is the server's address, or its host."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from adaptive.types import Cause
from replay.importers.base import Attempt, Importer, ImportFailed, Unit, Unusable, finite, moment, shown

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Har(Importer):
    """The entries of a HAR file."""

    name = "har"
    unit = "entry"

    def units(self, file: IO[bytes], path: Path) -> Iterator[Unit]:
        """The entries, counted from 1."""
        try:
            entries = json.load(file)["log"]["entries"]
        except (ValueError, RecursionError) as error:
            raise ImportFailed(f"{path}: not JSON: {error}") from None
        except (KeyError, TypeError):
            raise ImportFailed(f"{path}: no HAR: it has no log.entries") from None
        if not isinstance(entries, list):
            raise ImportFailed(f"{path}: no HAR: log.entries is no list")
        for place, entry in enumerate(entries, 1):
            yield Unit(place, json.dumps(entry) + "\n", entry)

    def parse(self, value: Any) -> Iterator[Attempt]:
        """One entry. Time that it was blocked or looked up a name is before it was sent."""
        try:
            request, response = dict(value["request"]), dict(value["response"])
            timings = dict(value.get("timings") or {})
            url, method, code = urlsplit(str(request["url"])), str(request["method"]), int(response["status"])
            port = url.port or _PORTS.get(url.scheme, 80)
            begun = moment(str(value["startedDateTime"]), "startedDateTime")
        except Unusable:
            raise
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise Unusable(f"is no entry: {type(error).__name__}: {error}") from None
        if url.scheme not in _PORTS:
            raise Unusable(f"request.url is of {shown(url.scheme)}, which no gateway carries")
        before, connect = _span(timings, "blocked") + _span(timings, "dns"), _span(timings, "connect")
        waited, received = connect + _span(timings, "send") + _span(timings, "wait"), _span(timings, "receive")
        total = _span(value, "time")
        took = waited + received if timings else total
        sent = begun + before
        answered = 100 <= code <= 999
        host = str(value.get("serverIPAddress") or url.hostname or "")
        yield Attempt(
            sent,
            sent + took,
            f"{host if ':' not in host or host.startswith('[') else f'[{host}]'}:{port}",
            self.cluster if self.options.cluster else url.hostname or self.cluster,
            code if answered else 0,
            Cause.RESPONSE if answered else Cause.RESET,
            sent + waited if answered and timings else math.nan,
            connect,
            up=int(_known(request, "bodySize")),
            down=int(_known(response, "bodySize")),
            method=method,
            path=url.path + (f"?{url.query}" if url.query else ""),
        )


def _span(values: Mapping[str, Any], name: str) -> float:
    """Milliseconds as seconds. Raises Unusable."""
    return _known(values, name) / 1e3


def _known(values: Mapping[str, Any], name: str) -> float:
    """A number from 0 up: -1 and null mean that it does not apply. Raises Unusable."""
    found = values.get(name)
    if found is None:
        return 0.0
    if isinstance(found, str) or math.isnan(value := finite(found)):
        raise Unusable(f"{name} {shown(str(found))} is not a number")
    return max(value, 0.0)
