"""The access log, on the worker's side: one JSON line a request, with Envoy's field names and response flags.

A line is encoded into a buffer at once; `flush`, from a timer of the caller, hands the buffer to the system and never
waits. The buffer is bounded: lines that do not fit are dropped and counted. Envoy's fields keep Envoy's meaning; times
are milliseconds, with decimals. Of the headers only the named ones are kept; Authorization and Cookie are never among
them.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote

import msgspec

# 1 MiB holds 2,000 lines of the usual 500 bytes: a second of a busy worker whose log cannot be written.
BUFFER_BYTES = 1 << 20
# A write of so many bytes to a pipe is never mixed with those of other workers (POSIX), and never partly done.
_PIPE_BYTES = 4096
_NEWLINE = 0x0A
REDACTED = "[redacted]"

# Keys of a query whose values are likely to be secrets; searched for in the key, letters of either case.
_SECRET_KEY = re.compile(
    r"token|secret|passw|pwd|passphrase|api[-_.]?key|access[-_.]?key|private[-_.]?key|signature|credential|"
    r"authori[sz]ation|bearer|session|assertion|(?:^|[-_.])(?:key|sig|auth|jwt|sid|code|otp|pin)$",
    re.IGNORECASE,
)


class Line(msgspec.Struct):
    """One request, in the order of the log. `start_time` is written in RFC 3339; None becomes null."""

    start_time: str
    method: str
    path: str
    protocol: str
    response_code: int
    response_flags: str
    bytes_received: int
    bytes_sent: int
    duration: float
    upstream_host: str | None
    upstream_cluster: str | None
    route_name: str | None
    x_forwarded_for: str | None
    user_agent: str | None
    request_id: str | None
    authority: str | None
    attempt_count: int
    upstream_service_time: float | None
    response_code_details: str | None
    lb_policy: str | None
    model_version: str | None
    propensity: float | None


class AccessLog:
    """Lines on their way to a file, or to standard output where `path` is "-".

    `dropped` counts the lines that could not be written, `error` says why writing last failed. Raises OSError where the
    file cannot be opened.
    """

    def __init__(self, path: str, limit: int = BUFFER_BYTES, redact: bool = True) -> None:
        self.path = path
        self.limit = limit
        self.redact = redact
        self.dropped = 0
        self.error: str | None = None
        self._buffer = bytearray()
        self._encode_into = msgspec.json.Encoder().encode_into
        self._second, self._prefix = -1, ""
        self._fd, self._stream = _open(path)

    @property
    def fd(self) -> int:
        """What the lines are written to; non-blocking."""
        return self._fd

    @property
    def waiting(self) -> int:
        """Bytes that are not written yet."""
        return len(self._buffer)

    def write(
        self,
        start_time: float,  # seconds since the epoch
        method: str,
        path: str,
        protocol: str,
        response_code: int,
        response_flags: str,
        bytes_received: int,
        bytes_sent: int,
        duration: float,  # seconds, as all times here
        upstream_host: str | None,
        upstream_cluster: str | None,
        route_name: str | None,
        x_forwarded_for: str | None,
        user_agent: str | None,
        request_id: str | None,
        authority: str | None,
        attempt_count: int,
        upstream_service_time: float | None,
        response_code_details: str | None,
        lb_policy: str | None,
        model_version: str | None,
        propensity: float | None,
    ) -> bool:
        """Add a line; False where the buffer is full, and the line is dropped."""
        buffer = self._buffer
        size = len(buffer)
        if size >= self.limit:
            self.dropped += 1
            return False
        second = int(start_time)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        if self.redact and ("?" in path or "@" in path):
            path = redact_target(path)
        line = Line(
            f"{self._prefix}{int((start_time - second) * 1000):03d}Z",
            method,
            path,
            protocol,
            response_code,
            response_flags,
            bytes_received,
            bytes_sent,
            round(duration * 1e3, 3),
            upstream_host,
            upstream_cluster,
            route_name,
            x_forwarded_for,
            user_agent,
            request_id,
            authority,
            attempt_count,
            None if upstream_service_time is None else round(upstream_service_time * 1e3, 3),
            response_code_details,
            lb_policy,
            model_version,
            propensity,
        )
        try:
            self._encode_into(line, buffer, -1)
        except UnicodeEncodeError:  # half a surrogate pair, from bytes that were no UTF-8
            del buffer[size:]
            self._encode_into(_printable(line), buffer, -1)
        buffer += b"\n"
        return True

    def flush(self) -> bool:
        """Hand over what the system takes without waiting; True when nothing is left. Never raises.

        What a full pipe refuses stays. Where writing fails for good (nobody reads, the disk is full), what waits is
        dropped and counted, and the next flush tries anew.
        """
        buffer = self._buffer
        done = 0
        try:
            while done < len(buffer):
                done += os.write(self._fd, self._chunk(done))
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = error.strerror or str(error)
            self.dropped += buffer.count(b"\n", done)
            cut = done > 0 and buffer[done - 1] != _NEWLINE
            buffer[:] = b"\n" if cut else b""  # the line that was cut off must not run into the next one
            return not buffer
        else:
            self.error = None
        del buffer[:done]
        return not buffer

    def _chunk(self, start: int) -> bytes:
        """The next bytes to write: all of them to a file; whole lines, as many as a pipe takes at once, to a stream."""
        if not self._stream:
            return bytes(self._buffer[start:])
        end = self._buffer.rfind(b"\n", start, start + _PIPE_BYTES)
        if end < 0:  # a line longer than a pipe writes at once: as far as it goes
            end = min(start + _PIPE_BYTES, len(self._buffer)) - 1
        return bytes(self._buffer[start : end + 1])

    def reopen(self) -> None:
        """Open the path anew, after its file was moved away. Where that raises OSError, the old file stays in use."""
        fd, stream = _open(self.path)
        self.flush()
        os.close(self._fd)
        self._fd, self._stream = fd, stream

    def close(self) -> None:
        """Write what can be written at once, count the rest as dropped, and let go of the file."""
        self.flush()
        self.dropped += self._buffer.count(b"\n")
        self._buffer.clear()
        os.close(self._fd)


def redact_target(target: str) -> str:
    """A request's target without the values of query keys that look like secrets, and without a URL's userinfo."""
    path, mark, query = target.partition("?")
    scheme, separator, rest = path.partition("://")
    if separator:
        authority, slash, tail = rest.partition("/")
        path = f"{scheme}://{authority.rpartition('@')[2]}{slash}{tail}"
    if not mark:
        return path
    return f"{path}?{'&'.join(map(_redact_pair, query.split('&')))}"


def _redact_pair(pair: str) -> str:
    if ";" in pair:  # an older separator, which some servers still know
        return ";".join(map(_redact_pair, pair.split(";")))
    key, equals, value = pair.partition("=")
    return f"{key}{equals}{REDACTED}" if value and _is_secret(key) else pair


@lru_cache(maxsize=512)  # services have few keys: 0.1 µs instead of 2
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(unquote(key)) is not None


def _printable(line: Line) -> Line:
    for name in Line.__struct_fields__:
        value = getattr(line, name)
        if isinstance(value, str):
            setattr(line, name, value.encode("utf-8", "backslashreplace").decode())
    return line


def _open(path: str) -> tuple[int, bool]:
    """A non-blocking descriptor to append to, and whether it is a stream (a pipe, a terminal, a socket)."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    if path != "-":
        fd = os.open(path, flags | os.O_CREAT, 0o640)
    else:
        try:
            # Opened anew, so that O_NONBLOCK is not forced on others who share this standard output.
            fd = os.open("/proc/self/fd/1", flags)
        except OSError:
            fd = os.dup(1)
            os.set_blocking(fd, False)
    return fd, not stat.S_ISREG(os.fstat(fd).st_mode)
