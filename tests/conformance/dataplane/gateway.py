"""A gateway under test: the real command, in its own processes, on its own configuration."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.dataplane.origin import Origin
from tests.conformance.dataplane.wire import Client

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30.0
STOP_SECONDS = 20.0  # nothing is under way when a gateway is stopped, so that it need not wait out its drain
_pause = threading.Event()  # never set: waiting for it is a bounded sleep


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def config(port: int, admin: int, **rest: Any) -> dict[str, Any]:
    """A configuration of one listener, without a recorder."""
    return {"listen": [f"127.0.0.1:{port}"], "admin": f"127.0.0.1:{admin}", "recorder": False, **rest}


class Gateway:
    """The running command. Clusters with one endpoint (`alone`) or three (`trio`) are at hand for one test each."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        origins: dict[str, list[Origin]] | None = None,
        data_plane: str = "embedded",
    ) -> None:
        self.data_plane = data_plane
        self.folder, self.settings = folder, settings
        self.port = int(str(settings["listen"][0]).rpartition(":")[2])
        self.admin = int(settings["admin"].rpartition(":")[2])
        self._origins = origins or {}
        self._used: set[str] = set()
        self.path = folder / "gateway.yaml"
        self.log = folder / "log.txt"
        self.write(settings)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "adaptive.cli", "serve", "-c", str(self.path), "--data-plane", data_plane],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
            )
        try:
            self.wait_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def write(self, settings: dict[str, Any]) -> None:
        """Replaces the configuration file in one step."""
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        new.replace(self.path)

    def text(self) -> str:
        """All that it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ask_admin(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of an admin request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Waits until /readyz says so."""
        status: Any = None
        for _ in range(int(seconds / 0.05)):
            assert self.process.poll() is None, f"exited with {self.process.returncode}:\n{self.text()}"
            try:
                status = self.ask_admin("/readyz")[0]
                if status == 200:
                    return
            except OSError as error:
                status = error
            _pause.wait(0.05)
        raise AssertionError(f"not ready after {seconds:g} s ({status}):\n{self.text()}")

    def workers(self) -> list[int]:
        """Process ids of its workers, or of its Envoy."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                if parent == self.process.pid and (b"worker" in words or words[0].endswith(b"/envoy")):
                    found.append(int(entry.name))
        return found

    def sockets(self) -> int:
        """How many sockets its workers hold."""
        count = 0
        for pid in self.workers():
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    count += os.readlink(entry).startswith("socket:")
                except OSError:
                    pass  # closed in the meantime
        return count

    def client(self, **options: Any) -> Client:
        """A new connection to it."""
        return Client(self.port, **options)

    def alone(self) -> tuple[str, Origin]:
        """A host with a cluster of one endpoint that no other test uses. Its origin is not started yet."""
        host, origins = self._take("alone")
        return host, origins[0]

    def trio(self, kind: str = "trio") -> tuple[str, list[Origin]]:
        """A host with a cluster of three endpoints that no other test uses. They refuse until they are started."""
        return self._take(kind)

    def _take(self, kind: str) -> tuple[str, list[Origin]]:
        name = next(name for name in self._origins if name.rstrip("0123456789") == kind and name not in self._used)
        self._used.add(name)
        return f"{name}.test", self._origins[name]

    def stop(self) -> int:
        """SIGTERM; its exit status. What it leaves in the log must hold no traceback."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop within {STOP_SECONDS:g} s:\n{self.text()}") from None
        finally:
            for origins in self._origins.values():
                for origin in origins:
                    origin.stop()
        assert "Traceback" not in self.text(), self.text()
        return code
