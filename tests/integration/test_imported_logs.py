"""Logs that real proxies write, imported: what the instances did stands in the trace.

Each test drives a proxy for about a second, because a refused connection, an error and a slow answer must all be met.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from adaptive.types import Cause
from replay.importers.base import Options
from replay.importers.importing import run
from replay.importers.nginx import FORMAT
from replay.trace import Trace, read

SLOW = 0.15  # seconds of the slow instance


def instance(seconds: float, status: int = 200) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(seconds)
            self.send_response(status)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def ask(port: int, count: int) -> list[int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    found = []
    for n in range(count):
        connection.request("GET", f"/item/{n}?q=a%20b")
        reply = connection.getresponse()
        reply.read()
        found.append(reply.status)
    connection.close()
    return found


@contextmanager
def fleet() -> Iterator[list[int]]:
    """Ports of a quick instance, a slow one, one that answers 503, and one that refuses."""
    with ExitStack() as stack:
        servers = [instance(0.0), instance(SLOW), instance(0.0, 503)]
        for server in servers:
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        yield [*(server.server_address[1] for server in servers), free_port()]


def by_port(trace: Trace) -> dict[int, np.ndarray]:
    ports = np.array([int(trace.header.endpoints[str(s)][1].rpartition(":")[2]) for s in trace.rows["slot"]])
    return {int(port): trace.rows[ports == port] for port in np.unique(ports)}


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed here")
def test_what_nginx_logs_in_the_documented_format_is_what_the_instances_did(tmp_path: Path) -> None:
    with fleet() as (quick, slow, failing, refusing):
        port = free_port()
        servers = "".join(f"server 127.0.0.1:{p} max_fails=0;" for p in (quick, slow, failing, refusing))
        quoted = FORMAT.replace("'", "\\'")
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/errors crit; events {{}}\n"
            f"http {{ log_format trace '{quoted}'; access_log {tmp_path}/access.log trace;\n"
            f"client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;\n"
            f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
            f"upstream api {{ {servers} }}\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://api;\n"
            "proxy_next_upstream error timeout http_503; } location /own { return 204; } } }\n"
        )
        with running(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port):
            assert set(ask(port, 20)) == {200}
        said: list[str] = []
        report = run("nginx", [tmp_path / "access.log"], tmp_path / "t.parquet", Options(), said.append)
    trace = read([tmp_path / "t.parquet"])
    assert (report.bad, report.requests, len(np.unique(trace.rows["request"]))) == (0, 20, 20)
    assert trace.header.clusters == ("api",)
    rows = by_port(trace)
    assert set(rows[refusing]["cause"]) == {Cause.CONNECT_REFUSED}
    assert set(rows[failing]["cause"]) == {Cause.RESPONSE} and set(rows[failing]["status"]) == {503}
    assert set(rows[quick]["status"]) == set(rows[slow]["status"]) == {200}
    took = rows[slow]["done"] - rows[slow]["sent_at"]
    assert np.all((took >= SLOW - 0.002) & (took < SLOW + 1.0))  # nginx's clock moves in milliseconds
    assert len(rows[quick]) + len(rows[slow]) == 20 and len(rows[failing]) >= 5 and len(rows[refusing]) >= 5
    assert trace.rows["attempt"].max() >= 2
    assert trace.extra["path"][0].startswith("/item/") and set(trace.extra["method"]) == {"GET"}


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed here")
def test_what_haproxy_logs_is_what_the_instances_did(tmp_path: Path) -> None:
    log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    log.bind(("127.0.0.1", 0))
    log.settimeout(0.5)
    with fleet() as (quick, slow, failing, refusing):
        port = free_port()
        servers = "".join(
            f"  server {name} 127.0.0.1:{p}\n"
            for name, p in (("quick", quick), ("slow", slow), ("failing", failing), ("refusing", refusing))
        )
        (tmp_path / "haproxy.cfg").write_text(
            f"global\n  log 127.0.0.1:{log.getsockname()[1]} local0\n"
            "defaults\n  mode http\n  log global\n  option httplog\n  retries 0\n  timeout connect 300ms\n"
            "  timeout client 10s\n  timeout server 5s\n"
            f"frontend front\n  bind 127.0.0.1:{port}\n  default_backend api\n"
            f"backend api\n  balance roundrobin\n{servers}"
        )
        with running(["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")], port):
            statuses = [ask(port, 1)[0] for _ in range(20)]
            lines = []
            with suppress(TimeoutError):
                while True:
                    lines.append(log.recv(8192).decode().rstrip("\x00\n"))
    log.close()
    (tmp_path / "haproxy.log").write_text("\n".join(line for line in lines if '"GET ' in line) + "\n")
    report = run("haproxy", [tmp_path / "haproxy.log"], tmp_path / "t.parquet", Options())
    trace = read([tmp_path / "t.parquet"])
    assert (report.bad, len(trace.rows), statuses.count(200)) == (0, 20, 10)
    names = np.array([trace.header.endpoints[str(slot)][1] for slot in trace.rows["slot"]])
    assert {name: int((names == name).sum()) for name in np.unique(names)} == dict.fromkeys(
        ("failing", "quick", "refusing", "slow"), 5
    )
    assert set(trace.rows["cause"][names == "refusing"]) == {Cause.CONNECT_REFUSED}
    assert set(trace.rows["status"][names == "failing"]) == {503}
    took = (trace.rows["done"] - trace.rows["sent_at"])[names == "slow"]
    assert np.all((took >= SLOW - 0.002) & (took < SLOW + 1.0))
    assert trace.header.clusters == ("api",) and trace.header.routes == ("front",)
