"""The three gateways: their configurations, and a process that runs one.

    python -m adaptive.demo.gateways '{"config": "/tmp/x/gateway.yaml", "parent": 4711}'

The same as `adaptive serve -c gateway.yaml`, but that it dies with the demo. All have the same health checks, time-outs
and retries, and endpoints that are alike; only the policy differs.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import yaml

from adaptive.gateway.parent import follow

CLUSTER = "api"
TIMEOUT = "2s"
# Share of the requests that go to suspects to learn about them. At 400 requests/s the default, 0.004, is under two a
# second, of which windows of a few seconds and labels over two make little.
EXPLORE = 0.01
POLICIES = {"adaptive": "Adaptive", "round_robin": "round robin", "least_request": "least request"}


def configuration(policy: str, ports: tuple[int, int], endpoints: list[int], seed: int, directory: Path) -> str:
    """The YAML of one gateway. `ports` are its own and its admin API's."""
    learning = policy == "adaptive"
    cluster: dict[str, Any] = {
        "endpoints": [f"127.0.0.1:{port}" for port in endpoints],
        "policy": policy,
        "health_check": {"path": "/health", "interval": "1s", "timeout": "500ms"},
    }
    config: dict[str, Any] = {
        "listen": f"127.0.0.1:{ports[0]}",
        "admin": f"127.0.0.1:{ports[1]}",
        "clusters": {CLUSTER: cluster},
        "routes": [{"prefix": "/", "cluster": CLUSTER, "timeout": TIMEOUT}],
        "recorder": {"directory": str(directory / "recordings"), "max_bytes": "64MiB"} if learning else False,
        "model": {"seed": seed, "enabled": learning, "explore": EXPLORE},
    }
    if not learning:
        cluster["predict"] = False
    return yaml.safe_dump(config, sort_keys=False)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing uses at this moment."""
    socks = [socket.socket() for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def main() -> int:
    """Entry point of the subprocess."""
    spec = json.loads(sys.argv[1])
    follow(int(spec["parent"]))
    from adaptive import app

    return app.serve(spec["config"], "warning", "text")


if __name__ == "__main__":
    sys.exit(main())
