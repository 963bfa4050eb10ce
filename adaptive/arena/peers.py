"""nginx, HAProxy and Envoy as who cares for failures would run them: each configured as its own manual advises.

All check the instances' health every 500 ms where they can (nginx cannot without its commercial part), give up an
attempt after 600 ms, try repeatable requests again elsewhere, never a POST that could have reached an instance, take
failing instances out, and choose by least requests. One thread or worker each, as the gateway that they stand beside
has one worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptive.bench.peers import Envoy, Nginx, Peer

CHECK = 500  # ms between health checks
ATTEMPT = 600  # ms that an attempt of a repeatable request may take: four times the 99th percentile in calm
CONNECT = 300  # ms
SYSTEM = "/usr/sbin:/usr/local/sbin"  # where daemons are, which is not on everybody's path


def nginx_text(folder: Path, port: int, addresses: Sequence[str]) -> str:
    """`max_fails` failures within `fail_timeout` take a server out for as long; what failed is tried elsewhere, unless
    it is not idempotent: proxy_next_upstream passes a POST on only where it says `non_idempotent`.
    """
    servers = "\n".join(f"    server {address} max_fails=3 fail_timeout=5s;" for address in addresses)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  {temporary}
  upstream fleet {{
    zone fleet 256k;
    least_conn;
{servers}
    keepalive 256;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://fleet;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout {CONNECT}ms;
      proxy_read_timeout {ATTEMPT}ms;
      proxy_next_upstream error timeout http_502 http_503 http_504;
      proxy_next_upstream_tries 3;
    }}
  }}
}}
"""


def haproxy_text(port: int, addresses: Sequence[str]) -> str:
    """Health checks, and `observe layer7`: five errors in a row in the traffic itself mark a server down until its
    checks have succeeded; it comes back over `slowstart`. Retries go elsewhere (`redispatch`), and are off for POST
    once it has been sent.
    """
    servers = "\n".join(
        f"  server s{i} {address} check inter {CHECK}ms fall 2 rise 2"
        " observe layer7 error-limit 5 on-error mark-down slowstart 3s"
        for i, address in enumerate(addresses)
    )
    return f"""global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect {CONNECT}ms
  timeout client 60s
  timeout server {ATTEMPT}ms
  timeout check 300ms
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 502 503 504
frontend clients
  bind 127.0.0.1:{port}
  default_backend fleet
backend fleet
  balance leastconn
  http-reuse always
  http-request disable-l7-retry if METH_POST
  option httpchk GET /health
{servers}
"""


def envoy_bootstrap(plain: dict[str, Any]) -> dict[str, Any]:
    """Envoy's plain configuration with all that it has against failures: active checks, outlier detection by errors in
    a row, by success rate and by failure percentage, slow start, retries to other hosts under a budget. Changes what it
    is given.
    """
    (listener,), (cluster,) = plain["static_resources"]["listeners"], plain["static_resources"]["clusters"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    host = manager["route_config"]["virtual_hosts"][0]
    unsent = {"retry_on": "connect-failure,refused-stream", "num_retries": 3, **_elsewhere()}
    any_failure = {
        "retry_on": "5xx,reset,connect-failure,retriable-status-codes",
        "num_retries": 3,
        "per_try_timeout": f"{ATTEMPT / 1e3:g}s",
        **_elsewhere(),
    }
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    name, timeout = cluster["name"], "2s"
    host["routes"] = [
        {
            "match": {"prefix": "/", "headers": [post]},
            "route": {"cluster": name, "timeout": timeout, "retry_policy": unsent},
        },
        {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": timeout, "retry_policy": any_failure}},
    ]
    many = {"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}
    budget = {"budget_percent": {"value": 50}, "min_retry_concurrency": 100}
    check = {"timeout": "0.3s", "interval": f"{CHECK / 1e3:g}s", "unhealthy_threshold": 2, "healthy_threshold": 2}
    cluster |= {
        "connect_timeout": f"{CONNECT / 1e3:g}s",
        "least_request_lb_config": {"slow_start_config": {"slow_start_window": "3s"}},
        "circuit_breakers": {"thresholds": [{**many, "retry_budget": budget}]},
        "health_checks": [{**check, "http_health_check": {"path": "/health"}}],
        "outlier_detection": {
            "consecutive_5xx": 5,
            "consecutive_gateway_failure": 5,
            "interval": "0.5s",
            "base_ejection_time": "3s",
            "max_ejection_percent": 50,
            "success_rate_minimum_hosts": 3,
            "success_rate_request_volume": 30,
            "failure_percentage_threshold": 20,
            "enforcing_failure_percentage": 100,
            "failure_percentage_minimum_hosts": 3,
            "failure_percentage_request_volume": 20,
        },
    }
    return plain


def _elsewhere() -> dict[str, Any]:
    predicate = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "host_selection_retry_max_attempts": 8,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"type.googleapis.com/{predicate}"},
            }
        ],
    }


class CarefulNginx(Nginx):
    """nginx against failures."""

    def command(self) -> list[str]:
        """Everything that it writes lies in its folder."""
        path = self.folder / "nginx.conf"
        path.write_text(nginx_text(self.folder, self.port, self.addresses), encoding="utf-8")
        binary = self.binary()
        assert binary is not None
        return [binary, "-c", str(path), "-p", str(self.folder)]


class CarefulEnvoy(Envoy):
    """Envoy against failures."""

    def bootstrap(self) -> dict[str, Any]:
        """Its configuration."""
        return envoy_bootstrap(super().bootstrap())


class HAProxy(Peer):
    """HAProxy against failures."""

    name = "haproxy"

    def binary(self) -> str | None:
        """Its path."""
        return shutil.which("haproxy") or shutil.which("haproxy", path=SYSTEM)

    def missing(self) -> str:
        """Without the program."""
        return "" if self.binary() else "haproxy is not installed"

    def command(self) -> list[str]:
        """One thread, in the foreground."""
        path = self.folder / "haproxy.cfg"
        path.write_text(haproxy_text(self.port, self.addresses), encoding="utf-8")
        binary = self.binary()
        assert binary is not None
        return [binary, "-db", "-f", str(path)]


PEERS: dict[str, type[Peer]] = {"nginx": CarefulNginx, "haproxy": HAProxy, "envoy": CarefulEnvoy}
