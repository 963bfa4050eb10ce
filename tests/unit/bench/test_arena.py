"""What `adaptive bench arena` runs, and its verdict on what it saw."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from adaptive.arena import lateness, peers
from adaptive.arena.contest import Shown, Watched, configuration
from adaptive.bench import arena, standing
from adaptive.bench.command import app
from adaptive.config.load import parse
from adaptive.demo.figures import Move
from replay.report.page import page
from replay.scenario import ScenarioError
from replay.scenario_file import checked

ADDRESSES = ["127.0.0.1:9100", "127.0.0.1:9101"]


def shown(scenario: str, name: str, failed: int = 0, slow: float = 1.0, late: float = 0.001) -> Shown:
    """A gateway's run of 2,000 requests: latencies from 10 to 110 ms times `slow`, the first `failed` failed."""
    count = 2000
    bad = np.arange(count) < failed
    return Shown(
        scenario,
        name,
        np.linspace(5.0, 25.0, count),
        np.where(bad, 2.0, slow * np.linspace(0.11, 0.01, count)),
        bad,
        np.where(bad, 0, 200),
        late,
        0.5,
        {"supervisor": 0.1},
        np.full(20, 100.0),
        np.zeros(20),
        (),
    )


def test_every_scenario_of_its_own_is_sound_and_says_what_happens() -> None:
    told = arena.known()
    assert {"calm", "fast_errors", "hang", "slow_node", "surge"} < set(told)
    assert len(told) >= 9
    for name, about in told.items():
        scenario = arena.own(name)
        assert scenario.name == name and about
        ends = [fault.end for instance in scenario.instances for fault in instance.faults]
        assert all(end < scenario.seconds for end in ends), "the way back is judged, too"
        assert bool(ends) == (name not in ("calm", "swings", "surge", "long_surge", "uneven"))


def test_a_stretched_scenario_is_the_same_one_in_other_seconds() -> None:
    whole = arena.own("surge")
    half = checked(arena.stretched(whole, whole.seconds / 2))
    assert half.warm == whole.warm / 2
    assert half.load.rates == tuple((t / 2, rate) for t, rate in whole.load.rates)
    leak, short = arena.own("leak"), arena.stretched(arena.own("leak"), arena.own("leak").seconds / 2)
    pairs = [(a, b) for one, two in zip(leak.instances, short.instances, strict=True)
             for a, b in zip(one.faults, two.faults, strict=True)]  # fmt: skip
    assert pairs and all(b.start == a.start / 2 and b.end == a.end / 2 and b.values == a.values for a, b in pairs)


def test_a_folder_is_read_with_its_scenarios_and_an_empty_one_is_said_so(tmp_path: Path) -> None:
    inner = tmp_path / "arena" / "scenarios"
    inner.mkdir(parents=True)
    (inner / "hang.json").write_bytes((arena.OWN / "hang.json").read_bytes())
    assert [one.name for one in arena.read([tmp_path / "arena"])] == ["hang"]
    assert arena.read([inner]) == arena.read([inner / "hang.json"]) == [arena.own("hang")]
    (inner / "hang.json").unlink()
    with pytest.raises(ScenarioError, match="holds no scenario"):
        arena.read([inner])


def test_our_configuration_is_one_and_a_switch_turns_one_mechanism_off(tmp_path: Path) -> None:
    scenario = arena.own("zone_down")
    ports = list(range(9100, 9100 + len(scenario.instances)))
    whole = parse(json.dumps({"listen": "127.0.0.1:8080", **configuration(scenario, ports, tmp_path)})).clusters[
        "fleet"
    ]
    off = {
        "predict": lambda c: c.predict,
        "learn_capacity": lambda c: c.learn_capacity,
        "hedging": lambda c: c.hedging.enabled,
        "stall_gate": lambda c: c.stall_gate,
        "overload": lambda c: c.overload.enabled,
    }
    assert set(off) == set(arena.SWITCHES)
    for name, value in arena.SWITCHES.items():
        without = parse(
            json.dumps({"listen": "127.0.0.1:8080", **configuration(scenario, ports, tmp_path, {name: value})})
        ).clusters["fleet"]
        for other, is_on in off.items():
            assert is_on(whole) and is_on(without) == (other != name)


def test_no_peer_sends_a_post_again_and_each_gives_up_an_attempt_as_early_as_the_others(tmp_path: Path) -> None:
    text = peers.nginx_text(tmp_path, 8080, ADDRESSES)
    assert "non_idempotent" not in text and "proxy_read_timeout 600ms;" in text
    assert all(f"server {address} max_fails=3 fail_timeout=5s;" in text for address in ADDRESSES)
    text = peers.haproxy_text(8080, ADDRESSES)
    assert "http-request disable-l7-retry if METH_POST" in text and "timeout server 600ms" in text
    assert all(f" {address} check inter 500ms" in text for address in ADDRESSES)
    made = peers.CarefulEnvoy(tmp_path, ADDRESSES).bootstrap()["static_resources"]
    manager = made["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    post, other = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert post["match"]["headers"][0]["string_match"] == {"exact": "POST"}
    assert post["route"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream"
    assert other["route"]["retry_policy"]["per_try_timeout"] == "0.6s"
    assert {"outlier_detection", "health_checks", "circuit_breakers"} < set(made["clusters"][0])


def test_a_peer_that_is_not_installed_is_left_out_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.shutil, "which", lambda *_, **__: None)
    sides, missing = arena.contenders(["nginx", "haproxy"], ["hedging"])
    assert [side.name for side in sides] == ["adaptive", "adaptive without hedging"]
    assert missing == [
        "nginx is left out: nginx is not installed",
        "haproxy is left out: haproxy is not installed",
    ]


def test_calm_may_differ_by_noise_and_no_more() -> None:
    peer = shown("calm", "nginx")
    assert standing.worse([shown("calm", "adaptive", slow=1.02), peer]) == []
    found = standing.worse([shown("calm", "adaptive", slow=1.04), peer])
    assert found == [
        "calm: 62.4 ms, not p50 at most nginx's 60.0 ms and 3% more",
        "calm: 113 ms, not p99 at most nginx's 109 ms and 3% more",
    ]


def test_uneven_weights_and_ejections_in_calm_are_told() -> None:
    even, uneven = [100.0, 100.0, 100.0, 100.0], [100.0, 100.0, 100.0, 60.0]
    well = ["HEALTHY"] * 4
    told = Watched([-1.0, 1.0, 2.0], [uneven, even, even], [well] * 3)
    (text,) = standing.steady(dataclasses.replace(shown("swings", "adaptive"), watched=(told,)))
    assert "within 0.0% of even (at most 10%), 0 ejections, endpoints healthy 100.00%" in text
    move = Move(1.5, 3, "canary", "ejected", "failed")
    told = Watched([1.0, 2.0], [even, uneven], [well, [*well[:3], "EJECTED"]], [move])
    (text,) = standing.steady(dataclasses.replace(shown("calm", "adaptive"), watched=(told,)))
    assert "within 33.3% of even (above 10%), 1 ejections, endpoints healthy 87.50%" in text
    assert not list(standing.steady(dataclasses.replace(shown("hang", "adaptive"), watched=(told,))))


def test_under_faults_failures_and_the_tail_decide_against_the_best_peer_of_each() -> None:
    rows = [shown("hang", "nginx", failed=1), shown("hang", "envoy", failed=9)]
    assert standing.worse([shown("hang", "adaptive", failed=1), *rows]) == []
    assert standing.worse([shown("hang", "adaptive", failed=3), *rows]) == [
        "hang: 2 s, not p99.9 at most nginx's 110 ms"
    ]
    assert standing.worse([shown("hang", "adaptive", failed=4), *rows])[0] == (
        "hang: 4, not failed at most nginx's 1 and 2 more"
    )
    (tail,) = standing.worse([shown("hang", "adaptive", failed=1, slow=1.1), *rows])
    assert tail == "hang: 121 ms, not p99.9 at most nginx's 110 ms"


def test_a_run_that_was_late_is_marked_and_not_judged() -> None:
    rows = [shown("hang", "adaptive", failed=90), shown("hang", "nginx", late=2 * lateness.MOST)]
    assert standing.worse(rows) == [] and standing.sound(rows) == [] and standing.totals(rows) == {}
    made = standing.report(rows, "hang", "adaptive bench arena", [1], [])
    assert any("not judged: nginx" in warning for warning in made["warnings"])
    assert [row["note"].startswith("INVALID") for row in made["rows"]] == [False, True]


def test_the_document_has_totals_notes_and_a_page() -> None:
    rows = [
        shown(scenario, name, failed)
        for scenario in ("calm", "hang", "surge")
        for name, failed in (("adaptive", 2), ("nginx", 12))
    ]
    rows[2] = dataclasses.replace(rows[2], again=np.r_[np.zeros(10), np.full(10, 10.0)])
    made = standing.report(rows, "all", "adaptive bench arena", [1, 2], ["envoy is left out: not installed"])
    assert made["facts"][:2] == [
        "failed, over 2 scenarios with faults: adaptive 4, nginx 24",
        "that is at most a third of the best peer's, nginx's 24",
    ]
    assert "hang: nginx failed with no answer: 12" in made["facts"]
    assert "hang: adaptive added 10.0% in 5 s, above 5%" in made["facts"]
    text = page(made)
    assert "envoy is left out" in text and text.count("<svg") >= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "hnag"], "hang"),
        (["--peer", "nginks"], "nginx"),
        (["--without", "hedges"], "hedging"),
        (["--data-plane", "pigeons"], "data plane"),
    ],
)
def test_a_misspelt_name_is_wrong_usage(arguments: list[str], message: str) -> None:
    found = CliRunner().invoke(app, ["arena", *arguments])
    assert found.exit_code == 2 and message in found.output
