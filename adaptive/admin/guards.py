"""Who may ask: the token, and the Host and Origin headers that tell a browser's page from an operator's tool."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from adaptive.admin.control import Control

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Probes of orchestrators carry no token, and learn nothing but yes or no.
OPEN = frozenset({"/livez", "/readyz", "/healthz", "/-/healthy", "/-/ready"})
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

CONTROL: web.AppKey[Control] = web.AppKey("control")


def problem(status: int, title: str, detail: str = "", headers: dict[str, str] | None = None) -> web.Response:
    """An error as RFC 9457 has it."""
    body = {"type": "about:blank", "title": title, "status": status}
    if detail:
        body["detail"] = detail
    answer = web.json_response(body, status=status, headers=headers)
    answer.content_type = "application/problem+json"
    return answer


def host_of(header: str) -> str:
    """The host of a Host header or an authority, lower-case, without port and brackets."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def expected_hosts(control: Control) -> frozenset[str]:
    """The names under which the API may be addressed."""
    admin = control.config.admin
    return LOCAL if admin is None else LOCAL | {admin.host.lower()}


def foreign(request: web.Request, hosts: frozenset[str]) -> str:
    """Why a request that changes something looks like a page's in somebody's browser; empty where it does not.

    A page that rebinds its own name to 127.0.0.1 sends that name as Host; any page that posts sends its Origin.
    """
    authority = request.headers.get("Host", "")
    if host_of(authority) not in hosts:
        return f"the Host header must be one of: {', '.join(sorted(hosts))}"
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() != f"{request.scheme}://{authority}".lower():
        return "requests from other origins are not allowed"
    return ""


def authorised(request: web.Request, token: str) -> bool:
    """Whether the request carries the token, compared in constant time."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return scheme.lower() == "bearer" and same


def may_see(request: web.Request) -> bool:
    """Whether details may be told: there is no token, or the request carries it."""
    admin = request.app[CONTROL].config.admin
    token = admin.token if admin is not None else None
    return token is None or authorised(request, token.get_secret_value())


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn away who may not ask.

    With a token, a name of any kind may be in Host: the token itself is what a foreign page does not have.
    """
    control = request.app[CONTROL]
    probe = request.path in OPEN and request.method in SAFE
    if not probe and not may_see(request):
        return problem(401, "Unauthorized", "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
    guarded = control.config.admin is not None and control.config.admin.token is not None
    if not guarded and request.method not in SAFE:
        why = foreign(request, expected_hosts(control))
        if why:
            return problem(403, "Forbidden", why)
    return await handler(request)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors of any kind as problem+json, without a word of our insides."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, error.reason, error.text if error.status == 400 and error.text else "", headers)
