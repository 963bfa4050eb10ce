"""What cannot be said in Envoy's terms is told at `check`, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from adaptive.config.errors import ConfigErrors
from adaptive.config.load import load, parse
from adaptive.envoy.translate.unsaid import unsaid

BASE: dict[str, Any] = {
    "listen": ["127.0.0.1:8080"],
    "clusters": {"all": {"endpoints": ["127.0.0.1:9001"]}},
    "routes": [{"cluster": "all"}],
}

CASES = [
    ({"clusters": {"all": {"endpoints": ["inner.test:80"]}}}, "clusters.all.endpoints.0.host", "resolves no names"),
    ({"clusters": {"all": {"endpoints": ["127.0.0.1:1"], "policy": "peak_ewma"}}}, "clusters.all.policy", "peak_ewma"),
    ({"clusters": {"all": {"endpoints": ["127.0.0.1:1"], "random_picks": 0.1}}}, "clusters.all.random_picks", "picks"),
    (
        {"clusters": {"all": {"endpoints": ["127.0.0.1:1"], "limits": {"idle": 3}}}},
        "clusters.all.limits.idle",
        "not the idle",
    ),
    (
        {"clusters": {"all": {"endpoints": ["127.0.0.1:1"], "overload": {"goal": "1s"}}}},
        "clusters.all.overload",
        "do not wait for their turn",
    ),
    (
        {"clusters": {"all": {"endpoints": ["127.0.0.1:1"], "hedging": {"ratio": 0.01}}}},
        "clusters.all.hedging.ratio",
        "retry_budget bounds both",
    ),
    ({"listen": ["127.0.0.1:0"]}, "listen.0.port", "must be named"),
    ({"listen": ["a.test:80"]}, "listen.0.host", "listens on IP addresses"),
    ({"listen": [{"address": "127.0.0.1:443", "http3": True}]}, "listen.0.http3", "tls is required"),
    (
        {"server": {"limits": {"connections_per_client": 3}}},
        "server.limits.connections_per_client",
        "not of a client",
    ),
    ({"server": {"limits": {"header_bytes": "9MiB"}}}, "server.limits.header_bytes", "8 MiB"),
    ({"routes": [{"cluster": "all", "prefix": "/a//b"}]}, "routes.0.prefix", "empty segment"),
]


@pytest.mark.parametrize(("settings", "key", "words"), CASES, ids=[key for _, key, _ in CASES])
def test_it_is_an_error_with_its_place(settings: dict[str, Any], key: str, words: str) -> None:
    (fault,) = unsaid(parse(yaml.safe_dump({**BASE, **settings})))
    assert ".".join(map(str, fault.path)) == key
    assert words in fault.message


def test_what_can_be_said_is_no_error() -> None:
    assert list(unsaid(parse(yaml.safe_dump(BASE)))) == []


def test_what_is_switched_off_need_not_be_said() -> None:
    off = {"endpoints": ["127.0.0.1:9001"], "overload": False, "hedging": False}
    assert list(unsaid(parse(yaml.safe_dump({**BASE, "clusters": {"all": off}})))) == []


def test_the_file_and_the_line_are_told(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump({**BASE, "clusters": {"all": {"endpoints": ["inner.test:80"]}}}, sort_keys=False))
    with pytest.raises(ConfigErrors, match=r"gateway\.yaml:6: clusters\.all\.endpoints\[0\].*resolves no names"):
        load(path, files=True, plane=unsaid)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"listen": [{"address": "127.0.0.1:80", "http3": True}]}, "listen[0].http3"),
        ({"clusters": {"all": {"endpoints": ["127.0.0.1:1"], "protocol": "http2"}}}, "clusters.all.protocol"),
    ],
)
def test_what_only_envoy_does_is_an_error_without_it(tmp_path: Path, settings: dict[str, Any], key: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump({**BASE, **settings}, sort_keys=False))
    with pytest.raises(ConfigErrors, match="needs Envoy: --data-plane envoy") as caught:
        load(path, files=True)
    assert caught.value.errors[0].key == key
