"""The answers of the admin API."""

from __future__ import annotations

import json
import math
import platform
from typing import Any

from aiohttp import web

from adaptive.admin import table
from adaptive.admin.guards import CONTROL, may_see, problem
from adaptive.version import __version__

BODY = 64 * 1024  # bytes of a request's body; an override takes a hundred
LIFETIME = 600.0  # seconds of an override that says nothing of it: long enough to look into it, and then forgotten
LONGEST = 30 * 86400.0  # of any: what must last for ever belongs in the configuration
ACTIONS = ("eject", "drain", "restore")
REASON = 500  # characters; it is shown in tables and logs

_UNAVAILABLE = "the brain does not answer; it is started again by itself"


def answer(data: Any, status: int = 200) -> web.Response:
    """JSON with a line of its own, so that a terminal shows it well."""
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    return web.Response(
        text=text, status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


async def livez(request: web.Request) -> web.Response:
    """200 while the supervisor runs; while it drains too."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """200 while traffic should come, else 503; `?verbose` lists the checks: [+] passed, [-] failed, [!] worth a look.

    Probes come without a token; what the checks say in detail is for those who have it.
    """
    checks = request.app[CONTROL].readiness()
    ready = all(mark != "-" for _, mark, _ in checks)
    status = 200 if ready else 503
    if "verbose" not in request.query:
        return web.Response(text="ok\n" if ready else "not ready\n", status=status)
    known = may_see(request)
    lines = [f"[{mark}]{name}{f': {detail}' if known else ''}" for name, mark, detail in checks]
    lines.append("readyz check " + ("passed" if ready else "failed"))
    return web.Response(text="\n".join(lines) + "\n", status=status)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text, or OpenMetrics where the Accept header asks for it."""
    body, content_type = await request.app[CONTROL].metrics(request.headers.get("Accept"))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def clusters(request: web.Request) -> web.Response:
    """The state of every endpoint: JSON, or `?format=text` a table."""
    report = await request.app[CONTROL].clusters()
    if request.query.get("format") == "text":
        return web.Response(text=table.clusters(report))
    return answer(report)


async def explain(request: web.Request) -> web.Response:
    """Why an endpoint has its state and weight: `?cluster=&endpoint=host:port`."""
    cluster, endpoint = request.query.get("cluster", ""), request.query.get("endpoint", "")
    if not cluster or not endpoint:
        return problem(400, "Bad Request", "explain needs ?cluster=<name>&endpoint=<host:port>")
    try:
        found = await request.app[CONTROL].explain(cluster, endpoint)
    except KeyError:
        return problem(404, "Not Found", f"no endpoint {endpoint} in a cluster {cluster}")
    if found is None:
        return problem(503, "Service Unavailable", _UNAVAILABLE, {"Retry-After": "1"})
    return answer(found)


async def config(request: web.Request) -> web.Response:
    """The configuration in force, without its secrets."""
    control = request.app[CONTROL]
    return answer({"generation": control.generation, "config": control.config.redacted()})


async def version(request: web.Request) -> web.Response:
    """What runs here."""
    return answer({"adaptive": __version__, "python": platform.python_version()})


async def reload(request: web.Request) -> web.Response:
    """Read the configuration again; 422 with the errors where the old one stays in force."""
    done = await request.app[CONTROL].reload()
    if done.errors:
        return problem(422, "The old configuration stays in force", "\n".join(done.errors))
    return answer({"generation": done.generation})


async def drain(request: web.Request) -> web.Response:
    """As SIGTERM: readiness fails, requests finish, the gateway exits."""
    request.app[CONTROL].drain()
    return answer({"state": request.app[CONTROL].state}, 202)


async def override(request: web.Request) -> web.Response:
    """Set an endpoint's health by hand: {"action": "eject" | "drain" | "restore", "seconds": …, "reason": …}."""
    cluster, endpoint = request.match_info["cluster"], request.match_info["endpoint"]
    try:
        wanted = json.loads(await request.text())
    except (ValueError, LookupError):
        return problem(400, "Bad Request", "the body is no JSON")
    wrong = _wrong(wanted)
    if wrong:
        return problem(400, "Bad Request", wrong)
    seconds = float(wanted.get("seconds", LIFETIME))
    reason = wanted.get("reason", "")
    try:
        told = request.app[CONTROL].override(cluster, endpoint, wanted["action"], seconds, reason)
    except KeyError:
        return problem(404, "Not Found", f"no endpoint {endpoint} in a cluster {cluster}")
    done = {"cluster": cluster, "endpoint": endpoint, "action": wanted["action"], "seconds": seconds, "reason": reason}
    return answer(done if told else {**done, "detail": _UNAVAILABLE}, 200 if told else 202)


def _wrong(wanted: Any) -> str:
    """What is wrong with an override; empty where nothing is."""
    if not isinstance(wanted, dict):
        return "the body is no JSON object"
    unknown = wanted.keys() - {"action", "seconds", "reason"}
    if unknown:
        return f"unknown keys: {', '.join(sorted(unknown))}"
    if wanted.get("action") not in ACTIONS:
        return f"action must be one of: {', '.join(ACTIONS)}"
    seconds = wanted.get("seconds", LIFETIME)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "seconds must be a number"
    if not 0 < seconds <= LONGEST:
        return f"seconds must be above 0 and at most {LONGEST:.0f}"
    reason = wanted.get("reason", "")
    if not isinstance(reason, str) or len(reason) > REASON or not reason.isprintable():
        return f"reason must be a line of at most {REASON} characters"
    return ""
