"""Scenarios as files: what is read, what is written, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.scenario import FAULTS, Clients, Fault, Instance, Load, Rules, Scenario, ScenarioError, Service
from replay.scenario_file import checked, load, of, to_json

FLAT: dict[str, Any] = {
    "post_share": 0.25,
    "name": "hang",
    "seed": 414,
    "seconds": 40,
    "rate": 1000,
    "timeout_s": 2.0,
    "deadline_s": 0.5,
    "warm_s": 5,
    "instances": [
        {"port": 9100, "slots": 6, "mean_ms": 40.0, "sigma": 0.6, "faults": []},
        {
            "port": 9101,
            "slots": 3,
            "mean_ms": 55.0,
            "weight": 2,
            "zone": "b",
            "faults": [
                {"kind": "hang", "from": 10, "to": 30},
                {"kind": "gc", "from": 1, "to": 2, "pause_ms": 350, "grow": True},
            ],
        },
    ],
    "rate_steps": [[0, 1000], [12, 1650]],
}


def mistakes(document: Any) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        of(document, "night.json")
    return str(caught.value).splitlines()


def changed(**changes: Any) -> dict[str, Any]:
    return FLAT | changes


def with_fault(**fault: Any) -> dict[str, Any]:
    return {"instances": [{"port": 9100, "faults": [{"from": 1, "to": 2, **fault}]}]}


def test_the_flat_form_is_read_as_it_is() -> None:
    made = of(FLAT, "hang.json")
    assert made == Scenario(
        name="hang",
        instances=(
            Instance("127.0.0.1:9100", Service(0.04, 0.6)),
            Instance(
                "127.0.0.1:9101",
                Service(0.055, 0.6),
                slots=3,
                weight=2.0,
                zone="b",
                faults=(
                    Fault("hang", 10.0, 30.0, {"p": 1.0}),
                    Fault("gc", 1.0, 2.0, {"pause_ms": 350.0, "period": 1.0, "grow": 1.0, "double": 0.0}),
                ),
            ),
        ),
        load=Load(rates=((0.0, 1000.0), (12.0, 1650.0)), post_share=0.25),
        clients=Clients(timeout=2.0),
        seed=414,
        notes={"deadline_s": 0.5},
    )


def test_a_file_is_named_after_itself_where_it_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "friday.json"
    path.write_text('{"instances": [{"port": 1}]}')
    assert load(path).name == "friday"


def test_yaml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "calm.yaml"
    path.write_text("instances:\n- {port: 9100, mean_ms: 10}\nrate: 50\n")
    assert load(path) == of({"name": "calm", "instances": [{"port": 9100, "mean_ms": 10}], "rate": 50}, "x")
    path.write_text("instances: []\ninstances: []\n")
    with pytest.raises(ScenarioError, match=r"calm\.yaml:2: duplicate key"):
        load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", ":1: not JSON"),
        (b'{"a": 1,\n "b" 2}', ":2: not JSON"),
        (b"", ":1: not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"rate": 1, "rate": 2}', "'rate' stands twice"),
        (b"[" * 100_000, "nested too deep"),
        (b"[1]", "an object is wanted, not [1]"),
        (b'{"rate": NaN, "instances": [{"port": 1}]}', "rate: nan is not a finite number"),
        (b'{"rate": 1' + b"0" * 5000 + b"}", "digits"),
    ],
)
def test_what_is_no_scenario_at_all_is_told_by_its_file(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"instances": []}, "instances: at least one instance is needed"),
        (changed(second=3), 'second: there is no such key; did you mean "seconds"?'),
        (changed(zzz=3), "zzz: there is no such key; known are name, seed"),
        (changed(seconds="40"), "seconds: '40' is not a number"),
        (changed(seconds=True), "seconds: True is not a number"),
        (changed(seconds=1e400), "seconds: inf is not a finite number"),
        (changed(seconds=5), "seconds: 5 is not after warm, 5: nothing would be judged"),
        (changed(post_share=1.1), "post_share: 1.1 is not at least 0 and at most 1"),
        (changed(warm=1), "warm_s: warm says this already"),
        (changed(timeout_s=0), "timeout_s: 0 is not above 0"),
        (changed(seed=-1), "seed: -1 is not at least 0"),
        (changed(gateways=1.5), "gateways: 1.5 is not a whole number"),
        (changed(rate_steps=[[1, 5]]), "rate_steps: the first step must be from second 0"),
        (changed(rate_steps=[[0, 5], [9, 6], [9, 7]]), "rate_steps[2][0]: 9 is not after the step before it, at 9"),
        (changed(rate_steps=[[0, -5]]), "rate_steps[0][1]: -5 is not at least 0"),
        (changed(rate_steps=[5]), "rate_steps[0]: 5 is not (from second, value)"),
        (changed(load={"post_share": 1}), "post_share: load.post_share says this already"),
        (changed(load={"burst": [2, 3]}), "load.burst: three numbers are wanted"),
        (changed(load={"burst": [2, 30, 20]}), "load.burst: 30 seconds do not fit in each 20"),
        (changed(load={"due": [1, 3, 2]}), "load.due[2]: 2 is before 3: arrivals must ascend"),
        (changed(load={"due": [1, 2], "posts": [True]}), "load.posts: 1 values for 2 arrivals"),
        (changed(clients={"retrys": 2}), 'clients.retrys: there is no such key; did you mean "retries"?'),
        (changed(clients={"attempt_timeout": 9}), "clients.attempt_timeout: 9 is longer than the whole, 2 s"),
        (changed(rules={"retry_statuses": [200]}), "rules.retry_statuses[0]: 200 is not a status"),
        (changed(rules={"budget": [2, 1, 1]}), "rules.budget: [2.0, 1.0, 1.0] is not (ratio"),
        (changed(stalls=[[1, 3, 1]]), "stalls[0]: there is no gateway 1: 1 of them count from 0"),
        (changed(stalls=[[0, 50, 1]]), "stalls[0]: at 50 the scenario is over, after 40 s"),
        (changed(stalls=[[0, 5]]), "stalls[0]: [0, 5] is not (gateway, at second, for seconds)"),
        (changed(notes=3), "notes: an object is wanted, not 3"),
        ({"instances": [{}]}, "instances[0]: an instance needs a name, or a port"),
        ({"instances": [{"slots": 2}]}, "instances[0].name: is missing"),
        ({"instances": [7]}, "instances[0]: an object is wanted, not 7"),
        ({"instances": [{"port": 70000}]}, "instances[0].port: 70000 is not at least 1 and at most 65535"),
        ({"instances": [{"port": 7, "name": "a"}]}, "instances[0].port: name says this already"),
        ({"instances": [{"port": 7}, {"port": 7}]}, "instances[1]: '127.0.0.1:7' is the name of instances[0] already"),
        ({"instances": [{"port": 7, "slots": 0}]}, "instances[0].slots: 0 is not at least 1"),
        (
            {"instances": [{"port": 7, "mean_ms": 4, "service": {"mean": 1}}]},
            "instances[0].mean_ms: the instance has a service already",
        ),
        (
            {"instances": [{"port": 7, "service": {"kind": "quantiles"}}]},
            "instances[0].service.table: a service of quantiles needs two",
        ),
        (
            {"instances": [{"port": 7, "service": {"kind": "pareto"}}]},
            "instances[0].service.kind: 'pareto' is not one of lognormal",
        ),
        (with_fault(kind="slwo"), "instances[0].faults[0].kind: 'slwo' is not one of slow, ramp_slow"),
        (with_fault(), "instances[0].faults[0].kind: is missing"),
        (with_fault(kind="slow"), "instances[0].faults[0].factor: is missing"),
        (with_fault(kind="slow", factor="2"), "instances[0].faults[0].factor: '2' is not a number"),
        (with_fault(kind="slow", factor=0), "instances[0].faults[0].factor: 0 is not above 0"),
        (with_fault(kind="slow", factor=2, p=1), "instances[0].faults[0].p: there is no such key; known are kind"),
        (with_fault(kind="errors", p=1.5), "instances[0].faults[0].p: 1.5 is not at least 0 and at most 1"),
        (with_fault(kind="down", to=1), "instances[0].faults[0].to: 1 is not after from, 1"),
        (with_fault(kind="bursts", factor=2, low=3, high=2), "instances[0].faults[0].high: 2 is below low, 3"),
        (with_fault(kind="delay", ms=3, gateway=1), "instances[0].faults[0].gateway: there is no gateway 1"),
        (with_fault(kind="gc", pause_ms=600, period=0.5), "instances[0].faults[0].pause_ms: a pause of 600 ms in each"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_value(document: Any, said: str) -> None:
    found = mistakes(document)
    assert len(found) == 1, found
    assert found[0].startswith(f"night.json: {said}")


def test_a_near_miss_of_a_kind_gets_a_suggestion() -> None:
    assert mistakes(with_fault(kind="slwo"))[0].endswith('did you mean "slow"?')


def test_all_mistakes_are_told_at_once() -> None:
    document = {"instances": [{"port": 0}, {"port": 8, "faults": [{"kind": "down"}]}], "rate": -1}
    assert [line.split(": ")[1] for line in mistakes(document)] == [
        "instances[0].port",
        "instances[1].faults[0].from",
        "instances[1].faults[0].to",
        "rate",
    ]


def test_what_code_has_made_is_judged_as_files_are() -> None:
    good = Scenario("x", (Instance("a:1"),))
    assert checked(good) == good
    with pytest.raises(ScenarioError, match=r"x: instances\[0\]\.slots: 0 is not at least 1"):
        checked(Scenario("x", (Instance("a:1", slots=0),)))


# The round trip.

shares = st.floats(0.0, 1.0)
times = st.floats(0.001, 1e4)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    kind = draw(st.sampled_from(sorted(FAULTS)))
    start = draw(st.floats(0.0, 1e3))
    required, optional = FAULTS[kind]
    values = {}
    for key in (*sorted(required), *optional):
        values[key] = -1.0 if key == "gateway" else draw(st.floats(0.01, 1.0))
    if kind == "bursts":
        values["high"] += values["low"]
    if kind == "gc":
        values["period"] += 1.0
    return Fault(kind, start, start + draw(times), values)


@st.composite
def services(draw: st.DrawFn) -> Service:
    kind = draw(st.sampled_from(["lognormal", "exponential", "normal", "constant", "quantiles"]))
    table = tuple(sorted(draw(st.lists(times, min_size=2, max_size=5)))) if kind == "quantiles" else ()
    return Service(draw(times), draw(shares), kind, table)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    due = draw(st.none() | st.lists(times, max_size=5).map(sorted).map(tuple))
    return Load(
        rates=((0.0, draw(times)), (draw(times), draw(st.floats(0.0, 1e6)))),
        post_share=draw(shares),
        burst=draw(st.none() | st.just((2.0, 1.5, 20.0))),
        work=((0.0, draw(times)), (7.5, draw(times))),
        due=due,
        posts=None if due is None else draw(st.none() | st.just(tuple(i % 2 == 0 for i in range(len(due))))),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    instances = tuple(
        Instance(
            f"host-{i}:80",
            draw(services()),
            slots=draw(st.integers(1, 99)),
            backlog=draw(st.integers(0, 9999)),
            weight=draw(st.floats(0.01, 1000.0)),
            zone=draw(st.sampled_from(["", "a", "ü"])),
            priority=draw(st.integers(0, 127)),
            faults=tuple(draw(st.lists(faults(), max_size=2))),
        )
        for i in range(draw(st.integers(1, 3)))
    )
    gateways = draw(st.integers(1, 3))
    return Scenario(
        name=draw(st.text(min_size=1, max_size=5).filter(lambda text: text.isprintable())),
        instances=instances,
        load=draw(loads()),
        clients=Clients(draw(st.floats(1.0, 9.0)), draw(st.integers(0, 3)), draw(shares), draw(shares)),
        rules=Rules(
            retries=draw(st.integers(0, 10)),
            retry_statuses=draw(st.frozensets(st.integers(400, 599), max_size=3)),
            budget=(draw(shares), draw(times), draw(times)),
            request_limit=draw(st.integers(0, 99)),
        ),
        seconds=draw(st.floats(20.0, 1e4)),
        warm=draw(st.floats(0.0, 10.0)),
        seed=draw(st.integers(0, 2**63)),
        gateways=gateways,
        workers=draw(st.integers(1, 4)),
        stalls=((gateways - 1, draw(st.floats(0.0, 19.0)), draw(times)),),
        notes=draw(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)),
    )


@settings(max_examples=120)
@given(scenarios())
def test_a_scenario_written_and_read_again_is_the_same(scenario: Scenario) -> None:
    assert of(json.loads(json.dumps(to_json(scenario))), "x") == scenario


@settings(max_examples=150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["instances", "faults", "port", "kind", "rate", "load", "rules", "from", "stalls"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_a_document_holds_there_is_a_scenario_or_a_plain_message(document: Any) -> None:
    try:
        assert checked(of(document, "any.json"))
    except ScenarioError as error:
        assert all(line.startswith("any.json: ") for line in str(error).splitlines())
