"""The gateway's own answers: application/problem+json (RFC 9457), and the request's number to ask about."""

from __future__ import annotations

import json

from adaptive.types import Cause

REASONS = {
    400: b"Bad Request",
    404: b"Not Found",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
# Of what became of the last attempt.
DETAILS: dict[Cause, str] = {
    Cause.CONNECT_REFUSED: "the endpoint refused the connection",
    Cause.CONNECT_TIMEOUT: "the endpoint did not accept a connection in time",
    Cause.CONNECT_FAILED: "the endpoint could not be reached",
    Cause.RESET_IDLE: "the endpoint closed a connection that was kept open",
    Cause.RESET: "the endpoint closed the connection without an answer",
    Cause.TIMEOUT_ATTEMPT: "the endpoint did not answer in time",
    Cause.TIMEOUT_ROUTE: "the request was not answered in time",
    Cause.PROTOCOL_ERROR: "the endpoint's answer was not HTTP",
    Cause.OVERFLOW: "no connection to an endpoint can be had within the limits",
}
# Seconds after which a refused client may try again: long enough for an ejected endpoint's canary to have been heard.
RETRY_AFTER = 1
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def problem(status: int, detail: str, request_id: bytes, *, close: bool, bodiless: bool = False) -> bytes:
    """A whole response. `close` says so to the client; `bodiless` is for HEAD."""
    title = REASONS[status].decode()
    said = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if request_id:
        said["instance"] = f"urn:request:{request_id.decode('latin-1')}"
    body = json.dumps(said).encode()
    lines = [
        b"HTTP/1.1 %d %b" % (status, REASONS[status]),
        b"content-type: application/problem+json",
        b"content-length: %d" % len(body),
        b"cache-control: no-store",
        b"via: 1.1 adaptive",
    ]
    if request_id:
        lines.append(b"x-request-id: " + request_id)
    if status in (429, 503):
        lines.append(b"retry-after: %d" % RETRY_AFTER)
    if close:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if bodiless else body)
