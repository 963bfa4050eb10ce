"""The admin API's application and its socket."""

from __future__ import annotations

import socket

from aiohttp import web

from adaptive.admin import views
from adaptive.admin.control import Control
from adaptive.admin.guards import CONTROL, guard, problems

GRACE = 0.5  # seconds for answers under way when the gateway exits


def application(control: Control) -> web.Application:
    """Every path of the API. HEAD works wherever GET does."""
    app = web.Application(middlewares=[problems, guard], client_max_size=views.BODY)
    app[CONTROL] = control
    app.add_routes(
        [
            web.get("/livez", views.livez),
            web.get("/-/healthy", views.livez),
            web.get("/readyz", views.readyz),
            web.get("/healthz", views.readyz),
            web.get("/-/ready", views.readyz),
            web.get("/metrics", views.metrics),
            web.get("/clusters", views.clusters),
            web.get("/explain", views.explain),
            web.get("/config", views.config),
            web.get("/version", views.version),
            web.post("/-/reload", views.reload),
            web.post("/-/drain", views.drain),
            web.post("/clusters/{cluster}/endpoints/{endpoint}/override", views.override),
        ]
    )
    return app


async def start(control: Control, sock: socket.socket) -> web.AppRunner:
    """Serve on a bound socket; `cleanup` of what is returned ends it."""
    runner = web.AppRunner(application(control), access_log=None, shutdown_timeout=GRACE, keepalive_timeout=30.0)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner
