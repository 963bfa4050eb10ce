"""The life of a real gateway: start, reload, deaths of its processes, drain, and what it says when it cannot.

Each test starts a gateway, whose brain takes a second to load its libraries; that is what makes them slow.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
_pause = threading.Event()  # never set: waiting for it is a bounded sleep


class Instance(BaseHTTPRequestHandler):
    """An instance behind the gateway; a path /slow answers when the test says so."""

    protocol_version = "HTTP/1.1"
    released = threading.Event()
    waiting = threading.Event()
    leaving = ""  # in what it announces that it leaves: header or body

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.waiting.set()
            self.released.wait(10)
        body = b"drain\n" if self.path == "/health" and self.leaving == "body" else b"hello"
        self.send_response(200)
        if self.leaving == "header" and self.path != "/health":
            self.send_header("Endpoint-Announcement", "drain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def instance() -> Iterator[str]:
    Instance.released.clear()
    Instance.waiting.clear()
    Instance.leaving = ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Instance)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    Instance.released.set()
    server.shutdown()
    server.server_close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Gateway:
    """`adaptive serve` in a directory of its own."""

    def __init__(self, directory: Path, instance: str, **more: Any) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.path = directory / "gateway.yaml"
        self.config: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": f"127.0.0.1:{self.admin_port}",
            "clusters": {"api": {"endpoints": [instance]}},
            "routes": [{"prefix": "/", "cluster": "api", "timeout": "8s"}],
            "recorder": {"directory": str(directory / "recordings")},
            **more,
        }
        self.write()
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "adaptive.cli", "serve", "-c", str(self.path)],
                stderr=log,
                env={**ENVIRONMENT, "TOKEN": "sesame"},
            )

    def write(self, **changes: Any) -> None:
        self.config.update(changes)
        text = json.dumps(self.config)  # JSON is YAML
        self.path.with_suffix(".new").write_text(text)
        self.path.with_suffix(".new").replace(self.path)

    def get(self, path: str = "/") -> tuple[int, bytes]:
        return ask(self.port, "GET", path)

    def admin(self, path: str, method: str = "GET", body: str = "", token: str = "") -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return ask(self.admin_port, method, path, body, headers)

    def ready(self, brain: bool = False) -> Gateway:
        def check() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                status, body = self.admin("/readyz?verbose", token="sesame")
            except OSError:
                return False
            return status == 200 and (not brain or b"[+]brain" in body)

        until(check)
        return self

    def children(self) -> dict[int, str]:
        return children(self.process.pid)

    def child(self, role: str) -> int | None:
        return next((pid for pid, name in self.children().items() if name == role), None)

    def ended(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)


def ask(port: int, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body or None, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def until(what: Callable[[], bool], seconds: float = 15.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if what():
            return
        _pause.wait(0.02)
    raise AssertionError(f"did not come to pass within {seconds:g} s")


def children(parent: int) -> dict[int, str]:
    """The roles of a process's living children."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, of = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(of) == parent and state != "Z" and b"adaptive.app" in words:
                found[int(entry.name)] = words[words.index(b"adaptive.app") + 1].decode()
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


Start = Callable[..., Gateway]


@pytest.fixture
def start(tmp_path: Path, instance: str) -> Iterator[Start]:
    begun: list[Gateway] = []

    def make(**more: Any) -> Gateway:
        begun.append(Gateway(tmp_path, instance, **more))
        return begun[-1]

    yield make
    for gateway in begun:
        if gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait()


def adaptive(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adaptive.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=ENVIRONMENT, check=False)


def test_sigterm_lets_a_request_end_and_exits_with_zero(start: Start) -> None:
    gateway = start().ready()
    answers: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.get("/slow")))
    thread.start()
    assert Instance.waiting.wait(5)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: gateway.admin("/readyz")[0] == 503)
    assert gateway.admin("/livez")[0] == 200
    Instance.released.set()
    thread.join(5)
    assert answers == [(200, b"hello")]
    assert gateway.ended() == 0
    assert "Traceback" not in gateway.log.read_text()


def test_a_second_sigterm_stops_at_once(start: Start) -> None:
    gateway = start().ready()
    cuts: list[str] = []

    def cut_off() -> None:
        try:
            gateway.get("/slow")
        except (OSError, http.client.HTTPException) as error:
            cuts.append(type(error).__name__)

    thread = threading.Thread(target=cut_off)
    thread.start()
    assert Instance.waiting.wait(5)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: gateway.admin("/readyz")[0] == 503)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.ended(5) == 1
    thread.join(5)
    assert len(cuts) == 1


def test_a_post_drains_too_and_leaves_no_process(start: Start) -> None:
    gateway = start().ready(brain=True)
    pids = list(gateway.children())
    assert len(pids) == 2
    assert gateway.admin("/-/drain", "POST")[0] == 202
    assert gateway.ended() == 0
    assert not any(map(alive, pids))


def test_a_port_in_use_is_one_line_with_the_address(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        for more in ({"listen": f"127.0.0.1:{port}"}, {"admin": f"127.0.0.1:{port}"}):
            gateway = start(**more)
            assert gateway.ended() == 1
            assert gateway.log.read_text() == (
                f"cannot listen on 127.0.0.1:{port}: the address is in use by another process\n"
            )


def test_a_wrong_configuration_ends_serve_with_its_errors(start: Start) -> None:
    gateway = start(admin="0.0.0.0:9901", routes=[{"prefix": "/", "cluster": "nobody"}])
    assert gateway.ended() == 1
    text = gateway.log.read_text()
    assert "nobody" in text and "token" in text and "Traceback" not in text
    assert all(str(gateway.path) in line for line in text.splitlines())


def test_a_reload_keeps_the_old_configuration_on_failure(start: Start) -> None:
    """By signal, by request and by the file itself."""
    gateway = start().ready()
    gateway.write(routes=[{"prefix": "/", "cluster": "nobody"}])
    until(lambda: b"[!]config" in gateway.admin("/readyz?verbose")[1])
    status, body = gateway.admin("/-/reload", "POST")
    assert status == 422 and b"nobody" in body
    assert gateway.get() == (200, b"hello")
    assert b"adaptive_config_last_reload_successful 0.0" in gateway.admin("/metrics")[1]
    gateway.write(routes=[{"path": "/only", "cluster": "api"}])
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.get()[0] == 404)
    assert gateway.get("/only") == (200, b"hello")
    assert b"adaptive_config_last_reload_successful 1.0" in gateway.admin("/metrics")[1]


def test_another_listener_needs_a_restart_and_says_so(start: Start) -> None:
    gateway = start().ready()
    gateway.write(listen=f"127.0.0.1:{free_port()}")
    told = adaptive("reload", "-c", str(gateway.path))
    assert told.returncode == 1
    assert "needs a restart" in told.stderr and len(told.stderr.splitlines()) == 1


def test_a_killed_brain_is_replaced_while_traffic_goes_on(start: Start) -> None:
    gateway = start().ready(brain=True)
    first = gateway.child("brain")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: json.loads(gateway.admin("/clusters")[1])["source"] == "board")
    assert gateway.get() == (200, b"hello")
    assert gateway.admin("/readyz")[0] == 200
    gateway.ready(brain=True)
    assert gateway.child("brain") != first
    report = json.loads(gateway.admin("/clusters")[1])
    assert report["source"] == "brain" and report["clusters"][0]["endpoints"][0]["health"] == "HEALTHY"


def test_a_brain_that_takes_over_sends_nothing_back_to_what_is_out(start: Start, instance: str) -> None:
    """What was lowered for good reasons stays so across the death of the brain."""
    dead = f"127.0.0.1:{free_port()}"
    check = {"path": "/", "interval": "100ms", "timeout": "100ms"}
    gateway = start(clusters={"api": {"endpoints": [instance, dead], "health_check": check}}).ready(brain=True)

    def health() -> str:
        return str(json.loads(gateway.admin("/clusters")[1])["clusters"][0]["endpoints"][1]["health"])

    def lowered() -> bool:
        assert gateway.get() == (200, b"hello")
        return health() != "HEALTHY"

    until(lowered)
    os.kill(gateway.child("brain") or 0, signal.SIGKILL)
    until(lambda: json.loads(gateway.admin("/clusters")[1])["source"] == "board")
    seen = {health()}

    def back() -> bool:
        seen.add(health())
        return b"[+]brain" in gateway.admin("/readyz?verbose")[1]

    until(back)
    assert "HEALTHY" not in seen


def test_a_killed_worker_is_replaced_and_takes_over_its_connections(start: Start) -> None:
    gateway = start().ready()
    first = gateway.child("worker")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    # Nobody accepts just now: the connection waits in the backlog, which the replacement inherits.
    assert gateway.get() == (200, b"hello")
    assert gateway.child("worker") not in (first, None)
    gateway.ready()


def test_a_killed_supervisor_leaves_no_process(start: Start) -> None:
    gateway = start().ready(brain=True)
    pids = list(gateway.children())
    assert len(pids) == 2
    gateway.process.kill()
    gateway.process.wait()
    until(lambda: not any(map(alive, pids)), 5)


def test_signals_to_the_whole_group_are_left_to_the_supervisor(start: Start) -> None:
    """As Ctrl-C in a terminal and systemd's default do."""
    gateway = start().ready(brain=True)
    pids = gateway.children()
    for pid in pids:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, name)
    assert gateway.get() == (200, b"hello")
    assert gateway.children() == pids
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.ended() == 0


def test_the_admin_api_wants_its_token(start: Start) -> None:
    port = free_port()
    gateway = start(admin={"address": f"127.0.0.1:{port}", "token": "${TOKEN}"})
    gateway.admin_port = port
    gateway.ready()
    assert gateway.admin("/clusters")[0] == 401
    assert gateway.admin("/-/drain", "POST", token="wrong")[0] == 401
    assert gateway.admin("/clusters", token="sesame")[0] == 200
    assert b"sesame" not in gateway.admin("/config", token="sesame")[1]
    assert "sesame" not in gateway.log.read_text()


def test_an_override_moves_the_traffic_and_is_explained(start: Start, instance: str) -> None:
    gateway = start(clusters={"api": {"endpoints": [instance, "127.0.0.1:1"]}}).ready(brain=True)
    where = f"/clusters/api/endpoints/{instance}/override"
    assert gateway.admin(where, "POST", '{"action": "eject", "reason": "disk"}')[0] == 200
    why = adaptive("explain", "-c", str(gateway.path), "api", instance)
    assert why.returncode == 0
    told = json.loads(why.stdout)
    assert told["health"] == "EJECTED" and "disk" in told["summary"]
    table = adaptive("status", "-c", str(gateway.path)).stdout
    assert any(instance in line and "EJECTED" in line for line in table.splitlines())
    assert adaptive("healthcheck", "-c", str(gateway.path)).returncode == 0


@pytest.mark.parametrize("where", ["header", "body"])
def test_an_instance_that_announces_that_it_leaves_drains(start: Start, instance: str, where: str) -> None:
    """The other endpoint refuses everything, so that the one that leaves is asked until it is known to leave."""
    check = {"path": "/health", "interval": "100ms", "timeout": "90ms", "announcements": True}
    cluster = {"endpoints": [instance, "127.0.0.1:1"], "health_check": check}
    gateway = start(clusters={"api": cluster}).ready(brain=True)
    Instance.leaving = where
    assert gateway.get("/") == (200, b"hello")

    def told() -> dict[str, Any]:
        return dict(json.loads(adaptive("explain", "-c", str(gateway.path), "api", instance).stdout))

    until(lambda: told()["health"] == "DRAINING")
    assert "it announced that it leaves" in told()["summary"]
