"""nginx access logs, in any format that can be told from nginx's own `log_format`.

A request that was sent to several upstreams is one line, in which `$upstream_*` hold a value for each attempt, with
", " between, and " : " where an internal redirect chose another group. Attempts follow each other from the moment the
request came ($msec - $request_time). What nginx answers itself (502, 504) is told from what an upstream answered by
the times that it does not have: no connection, or no head of a response.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import re2

from adaptive.types import Cause
from replay.importers.base import (
    Attempt,
    Importer,
    ImportFailed,
    Options,
    Unusable,
    moment,
    number,
    request_line,
    shown,
    span,
    status_of,
    whole,
)

# What `adaptive import nginx` expects where --log-format does not say otherwise.
FORMAT = (
    '$remote_addr [$time_iso8601] $msec "$request" $status $request_time $request_length $bytes_sent $proxy_host '
    "$upstream_addr $upstream_status $upstream_connect_time $upstream_header_time $upstream_response_time "
    "$upstream_bytes_received"
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_MANY = r"[^\s,]+(?:(?:, | : )[^\s,]+)*"
_NUMBER = r"-|\d+(?:\.\d+)?"
_PATTERNS: Mapping[str, str] = {
    "msec": r"\d+\.\d+",
    "request_time": _NUMBER,
    "status": r"\d{3}",
    "bytes_sent": _NUMBER,
    "body_bytes_sent": _NUMBER,
    "request_length": _NUMBER,
    "request_method": r"\S*",
    "proxy_host": r"\S+",
    "time_iso8601": r"\S+",
}
_CLOCKS = ("msec", "time_iso8601", "time_local")
_GONE = 499  # nginx's own status for a client that hung up


class Nginx(Importer):
    """Lines of one `log_format`. Raises ImportFailed where that cannot be used."""

    name = "nginx"
    logged = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        text, escape = directive(options.log_format or FORMAT)
        self._line, self._variables = compiled(text)
        self._json = escape == "json"
        have = set(self._variables)
        if not have & set(_CLOCKS):
            raise ImportFailed(f"--log-format: none of ${', $'.join(_CLOCKS)} stands in it: when was a request?")
        if "msec" not in have:
            self.resolution = 1.0
        self._upstreams = "upstream_addr" in have
        self._split = {"upstream_connect_time", "upstream_header_time"} <= have
        if not self._upstreams:
            self.notes.append(
                "the format has no $upstream_addr: these are arrivals only, without instances or latencies"
            )
        elif not have & {"upstream_response_time", "request_time"}:
            self.notes.append("the format has no $upstream_response_time: these are arrivals only, without latencies")
        elif not self._split:
            self.notes.append(
                "the format lacks $upstream_connect_time or $upstream_header_time: a 502 or 504 of nginx's own counts "
                "as the upstream's answer"
            )
        self.lacks = frozenset({"propensity"} | ({"connect", "first_byte"} if not self._split else set()))

    def parse(self, value: str) -> Iterator[Attempt]:
        """The attempts of one request."""
        match = self._line.fullmatch(value.encode("utf-8", "backslashreplace").decode())
        if match is None:
            raise Unusable("does not have the form of the log format")
        fields = dict(zip(self._variables, match.groups(), strict=True))
        end = _clock(fields)
        spent = span(fields["request_time"], "$request_time") if fields.get("request_time", "-") != "-" else math.nan
        start = end - spent if math.isfinite(spent) else end
        method, path = self._request(fields)
        up = whole(fields["request_length"], "$request_length") if "request_length" in fields else 0
        common = Attempt(start, method=method, path=path, up=up, cluster=self._cluster(fields))
        if not self._upstreams:
            yield common
            return
        made = list(self._attempts(fields, common, spent))
        if not made:
            self.unreached += 1
        for i, one in enumerate(made):
            yield one._replace(number=i + 1, again=i > 0, final=i == len(made) - 1)

    def _attempts(self, fields: Mapping[str, str], common: Attempt, spent: float) -> Iterator[Attempt]:
        addresses = _list(fields["upstream_addr"])
        if addresses == ["-"]:
            return
        columns = {
            name: _list(fields[name])
            for name in ("upstream_status", "upstream_connect_time", "upstream_header_time", "upstream_response_time",
                         "upstream_bytes_received")
            if name in fields
        }  # fmt: skip
        for name, values in columns.items():
            if len(values) != len(addresses):
                raise Unusable(f"${name} has {len(values)} values for {len(addresses)} in $upstream_addr")
        at = common.sent_at
        client_gone = fields.get("status") == str(_GONE)
        for i, address in enumerate(addresses):
            one = {name: values[i] for name, values in columns.items()}
            seconds = one.get("upstream_response_time", "-")
            took = span(seconds, "$upstream_response_time") if seconds != "-" else math.nan
            if not math.isfinite(took) and len(addresses) == 1:
                took = spent
            if ":" not in address:  # the group's name: no upstream was alive
                continue
            yield self._attempt(
                address, one, common._replace(sent_at=at), took, client_gone and i == len(addresses) - 1
            )
            at += took if math.isfinite(took) else 0.0

    def _attempt(self, address: str, one: Mapping[str, str], common: Attempt, took: float, gone: bool) -> Attempt:
        connect, head = one.get("upstream_connect_time", "-"), one.get("upstream_header_time", "-")
        status = one.get("upstream_status", "-")
        code = status_of(status, "$upstream_status") if status != "-" else 0
        down = one.get("upstream_bytes_received", "-")
        cause = Cause.RESPONSE
        if gone and head == "-":
            cause, code = Cause.CLIENT_GONE, 0
        elif self._split and head == "-" and code in (0, 502, 504):
            late = code == 504
            if connect == "-":
                cause = Cause.CONNECT_TIMEOUT if late else Cause.CONNECT_REFUSED
            else:
                cause = Cause.TIMEOUT_ATTEMPT if late else Cause.RESET
            code = 0
        return common._replace(
            endpoint=address,
            done=common.sent_at + took,
            status=code,
            cause=cause,
            connect=span(connect, "$upstream_connect_time") if connect != "-" else 0.0,
            first_byte=common.sent_at + span(head, "$upstream_header_time") if head != "-" else math.nan,
            down=whole(down, "$upstream_bytes_received") if down != "-" else 0,
        )

    def _request(self, fields: Mapping[str, str]) -> tuple[str | None, str | None]:
        if "request" in fields:
            return request_line(fields["request"].replace("\\/", "/") if self._json else fields["request"])
        return fields.get("request_method"), fields.get("request_uri", fields.get("uri"))

    def _cluster(self, fields: Mapping[str, str]) -> str:
        named = fields.get("proxy_host", "-")
        return self.cluster if self.options.cluster or named in ("-", "") else named


def directive(text: str) -> tuple[str, str]:
    """The format itself, of a whole `log_format` directive or of its string alone; and its `escape`. ImportFailed."""
    stripped = text.strip()
    if not stripped.startswith("log_format"):
        return text, "default"
    words = re.findall(r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"|([^\s;'\"]+)", stripped.removeprefix("log_format"))
    plain = [word for _, _, word in words if word]
    quoted = [(a or b).replace("\\'", "'").replace('\\"', '"') for a, b, word in words if not word]
    escape = next((word.partition("=")[2] for word in plain if word.startswith("escape=")), "default")
    if not quoted:
        raise ImportFailed("--log-format: the directive log_format has no quoted string")
    return "".join(quoted), escape


def compiled(text: str) -> tuple[re2._Regexp, list[str]]:
    """A pattern of whole lines, and the variable of each of its groups. Raises ImportFailed."""
    pattern, at = "", 0
    variables: list[str] = []
    matches = list(_VARIABLE.finditer(text))
    for i, match in enumerate(matches):
        name = match[1] or match[2]
        if match.start() == at and i:
            raise ImportFailed(f"--log-format: nothing stands between ${variables[-1]} and ${name}: they run together")
        pattern += re2.escape(text[at : match.start()])
        at = match.end()
        many = _MANY if name.startswith("upstream_") else None
        pattern += f"({many or _PATTERNS.get(name, '.*?')})"
        variables.append(name)
    twice = next((name for name in variables if variables.count(name) > 1), None)
    if twice or not variables:
        raise ImportFailed(
            f"--log-format: ${twice} stands in it twice" if twice else "--log-format: it has no variable"
        )
    return re2.compile(pattern + re2.escape(text[at:])), variables


def _clock(fields: Mapping[str, str]) -> float:
    if "msec" in fields:
        return number(fields["msec"], "$msec")
    name = "time_iso8601" if "time_iso8601" in fields else "time_local"
    return moment(fields[name], f"${name}")


def _list(value: str) -> list[str]:
    found = re.split(r", | : ", value)
    if not all(found):
        raise Unusable(f"{shown(value)} is no list of upstreams")
    return found
