"""`adaptive bench arena`, the command, on a small fleet beside nginx. It runs for some nine seconds, as life does."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adaptive.arena.peers import PEERS, CarefulNginx, HAProxy
from adaptive.bench import arena_command
from adaptive.bench.command import app
from replay.report.document import read
from replay.report.text import text

SCENARIO = {
    "name": "crash",
    "seed": 5,
    "seconds": 4,
    "warm_s": 1,
    "rate": 150,
    "timeout_s": 2.0,
    "instances": [
        {
            "port": 9100 + i,
            "slots": 6,
            "mean_ms": 20,
            "faults": [{"kind": "down", "from": 2, "to": 3}] if i == 1 else [],
        }
        for i in range(3)
    ],
}


@pytest.mark.skipif(bool(PEERS["nginx"](Path(), ()).missing()), reason="nginx is not installed")
def test_a_fleet_behind_us_and_nginx_makes_a_page_and_a_missing_peer_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two gateways start and serve for four seconds. Who is better is not asked here: the machine is as it is."""
    (tmp_path / "crash.json").write_text(json.dumps(SCENARIO), encoding="utf-8")
    monkeypatch.setattr(HAProxy, "binary", lambda _: None)
    monkeypatch.setattr(arena_command, "undisturbed", lambda _: nullcontext())  # of a test, other work must not wait
    page = tmp_path / "page.html"
    words = ["arena", str(tmp_path / "crash.json"), "--peer", "nginx,haproxy", "--out", "html", "-o", str(page)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code in (0, 1), found.output  # 1: the verdict, or the machine was late
    assert "haproxy is left out: haproxy is not installed" in found.output
    made = read(page)
    ours, theirs = made["rows"]
    assert [ours["policy"], theirs["policy"]] == ["adaptive", CarefulNginx.name]
    # Poisson: 450 requests are judged, give or take 21 a standard deviation; both have the same.
    assert ours["requests"] == theirs["requests"] and abs(ours["requests"] - 450) < 5 * 21
    for row in (ours, theirs):
        assert row["p50"] is not None and 0.005 < row["p50"] < 2.0
        # A third of the fleet is gone for a second, and refuses at once: most requests are served all the same.
        assert row["failed"] < 0.1 * row["requests"]
        assert row["attempts_per_request"] is not None and 1.0 <= row["attempts_per_request"] < 1.5
    assert any(move["endpoint"] == "instance 1" for move in made["moves"]), "the gateway's own account is in the page"
    assert {"adaptive", "nginx"} <= set(made["series"]["latency"]) and "<svg" in page.read_text(encoding="utf-8")
    assert any(line.startswith("haproxy is left out") for line in made["warnings"])
    assert "crash" in text(made)
