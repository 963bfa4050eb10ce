"""HAProxy's `option httplog`, with or without the header of syslog.

A line's timers are TR/Tw/Tc/Tr/Ta in milliseconds: receiving the request, waiting in queues, connecting, waiting for
the head of the response, and all of it; -1 for what was never reached. The first two letters of the termination state
say who ended the session and when. Of retries only the last attempt is told, and how many there were.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from adaptive.types import Cause
from replay.importers.base import Attempt, Importer, Options, Unusable, moment, request_line, shown, status_of, whole

_LINE = re.compile(
    r"(?P<client>\S+:\d+) \[(?P<at>[^\]]+)\] (?P<frontend>\S+) (?P<backend>[^/\s]+)/(?P<server>\S+) "
    r"(?P<timers>-?\d+/-?\d+/-?\d+/-?\d+/\+?-?\d+) (?P<status>-?\d+) \+?(?P<bytes>\d+) \S+ \S+ (?P<state>\S{4}) "
    r"\d+/\d+/\d+/\d+/\+?(?P<retries>\d+) \d+/\d+ (?:\{.*\} )?\"(?P<request>.*)\"?$"
)
# By the first two letters of the termination state; what is not here is by the first alone, and then a response.
_ENDS: Mapping[str, Cause] = {
    "sC": Cause.CONNECT_TIMEOUT, "SC": Cause.CONNECT_REFUSED, "sH": Cause.TIMEOUT_ATTEMPT, "SH": Cause.RESET,
    "sD": Cause.TIMEOUT_ATTEMPT, "SD": Cause.RESET_BODY, "PH": Cause.PROTOCOL_ERROR, "SL": Cause.RESET,
    "PD": Cause.PROTOCOL_ERROR, "DH": Cause.RESET, "DD": Cause.RESET_BODY, "UH": Cause.RESET, "KD": Cause.CANCELLED,
    "RC": Cause.OVERFLOW,
}  # fmt: skip


class Haproxy(Importer):
    """Lines of `option httplog`."""

    name = "haproxy"
    logged = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.notes.append(
            "HAProxy names servers, not their addresses, and of a retried request it logs the last attempt only"
        )

    def parse(self, value: str) -> Iterator[Attempt]:
        """The last attempt of one request."""
        match = _LINE.search(value)
        if match is None:
            raise Unusable("does not have the form of option httplog")
        receive, queue, connect, respond, total = (int(part.lstrip("+")) for part in match["timers"].split("/"))
        start = moment(match["at"], "accept date")
        if match["server"].startswith("<") or receive < 0 or queue < 0:
            self.unreached += 1
            return
        if total < 0:
            raise Unusable(f"the whole time in {shown(match['timers'])} is below 0")
        cause = _cause(match["state"])
        sent = start + (receive + queue) / 1e3
        done = max(start + total / 1e3, sent)
        if cause == Cause.CLIENT_GONE and connect < 0:
            cause = Cause.CANCELLED
        first = sent + (max(connect, 0) + respond) / 1e3 if respond >= 0 else math.nan
        method, path = request_line(match["request"].rstrip('"'))
        code = match["status"]
        yield Attempt(
            sent,
            done,
            match["server"],
            self.cluster if self.options.cluster else match["backend"],
            status_of(code) if cause == Cause.RESPONSE and not code.startswith("-") else 0,
            cause,
            first if first <= done else math.nan,
            max(connect, 0) / 1e3,
            down=whole(match["bytes"], "bytes"),
            method=method,
            path=path,
            route=match["frontend"].rstrip("~"),
            number=min(int(match["retries"]) + 1, 255),
        )


def _cause(state: str) -> Cause:
    if state[0] in "Cc":
        return Cause.CLIENT_GONE
    return _ENDS.get(state[:2], Cause.RESPONSE)
