"""A model of pods sees a fault at home, not at the neighbours, knows nothing of the future, and is a modest guest."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.calls import NAMES, Calls, PodBins, pod_bins
from models.edges import EdgesError, Fault, read_calls, read_faults, shown, truth
from models.pods import PodModel, fit, service

SEED = 7
PODS = ("front", "cart-5d8f9c7b-abcde", "mail-5d8f9c7b-abcde", "shop-5d8f9c7b-abcde")
FAULTS = [Fault("cart-5d8f9c7b-abcde", "network_delay", 600.0), Fault("mail-5d8f9c7b-abcde", "cpu_consumed", 1200.0)]


def day(seconds: float = 1500.0, faults: list[Fault] = FAULTS, slow: float = 20.0) -> Calls:
    """The front calls cart and shop, shop calls mail; 5 calls a second each, some 10 ms between."""
    rng = np.random.default_rng(SEED)
    edges = [(0, 1), (0, 3), (3, 2)]
    parts = []
    for kind, (caller, callee) in enumerate(edges):
        done = np.sort(rng.uniform(0, seconds, int(5 * seconds)))
        between = 0.01 * np.exp(rng.normal(0, 0.4, len(done)))
        for fault in faults:
            at_fault = (fault.pod == PODS[callee]) & (done >= fault.at) & (done < fault.at + 180)
            between = np.where(at_fault, between * slow, between)
        worked = 0.005 * np.exp(rng.normal(0, 0.4, len(done)))
        parts.append(
            np.stack([done, *(np.full(len(done), v) for v in (caller, callee, kind)), between + worked, worked])
        )
    table = np.concatenate(parts, axis=1)
    table = table[:, np.argsort(table[0], kind="stable")]
    return Calls(PODS, table[0], *(table[i].astype(np.int64) for i in (1, 2, 3)), table[4], table[5])


@pytest.fixture(scope="module")
def rows() -> PodBins:
    return pod_bins(day())


def test_every_pod_has_a_row_for_each_bin_with_a_call(rows: PodBins) -> None:
    assert len(rows.at) == 3 * 150
    assert rows.features.shape == (450, len(NAMES))
    assert np.all(np.diff(rows.at) >= 0) and rows.at[0] == 10.0


def test_a_fault_shows_at_its_pod_and_nowhere_else(rows: PodBins) -> None:
    now = truth(rows, FAULTS)[1]
    later = now & (rows.features[:, NAMES.index("excess_1")] > 2)
    assert later.sum() >= 2 * 16
    lead = rows.features[:, NAMES.index("lead")]
    over = np.isin(rows.at, [fault.at + 180 for fault in FAULTS])  # the fault's last bin, asked when it is just over
    assert lead[later].min() > 5 > lead[~truth(rows, FAULTS)[0] & ~over].max()


def test_what_a_caller_suffers_at_all_its_callees_is_its_own() -> None:
    calls = day(faults=[])
    ill = (calls.caller == 0) & (calls.done > 800)
    third = replace(calls, op=calls.op, waited=np.where(ill, calls.waited + 0.2, calls.waited))
    more = Calls(  # a third callee of the front: of two alone nobody can say which is ill
        (*PODS, "site-5d8f9c7b-abcde"),
        np.concatenate([third.done, third.done[third.callee == 1]]),
        np.concatenate([third.caller, third.caller[third.callee == 1]]),
        np.concatenate([third.callee, np.full((third.callee == 1).sum(), 4)]),
        np.concatenate([third.op, np.full((third.callee == 1).sum(), 9)]),
        np.concatenate([third.waited, third.waited[third.callee == 1]]),
        np.concatenate([third.worked, third.worked[third.callee == 1]]),
    )
    order = np.argsort(more.done, kind="stable")
    more = Calls(
        more.pods, *(getattr(more, name)[order] for name in ("done", "caller", "callee", "op", "waited", "worked"))
    )
    found = pod_bins(more)
    assert found.rule[found.at > 900].max() > 2  # the simple rule accuses them all
    assert found.features[found.at > 900][:, 0].max() < 3


def test_nothing_is_known_before_its_time(rows: PodBins) -> None:
    calls = day()
    poisoned = replace(calls, waited=np.where(calls.done >= 700.0, 1e3, calls.waited))
    again = pod_bins(poisoned)
    before = rows.at <= 700.0
    np.testing.assert_array_equal(again.features[before], rows.features[before])
    np.testing.assert_array_equal(again.rule[before], rows.rule[before])
    assert not np.array_equal(again.features[~before], rows.features[~before])


def test_calls_without_the_callees_own_time_are_judged_by_what_the_caller_waited() -> None:
    calls = day()
    found = pod_bins(replace(calls, worked=np.full(len(calls.done), np.nan)))
    assert np.isfinite(found.features).all() and np.isnan(found.p95_between).all()
    now = truth(found, FAULTS)[1] & (found.features[:, 2] > 2)
    assert found.features[now, 1].min() > 3


def test_the_weights_stay_above_zero_and_near_what_they_were_set_to(rows: PodBins) -> None:
    model = fit(rows, truth(rows, FAULTS)[0], ["a", "b"] * 3)
    assert min(model.weights) >= 0 and not model.guest
    assert np.abs(np.array(model.weights) - PodModel().weights).max() < 1
    assert model.services == {"cart", "mail", "shop"}


def test_of_few_faults_or_one_kind_it_stays_a_guest(rows: PodBins) -> None:
    labels = truth(rows, FAULTS)[0]
    assert shown(rows, FAULTS) == ["network_delay", "cpu_consumed"]
    assert fit(rows, labels, shown(rows, FAULTS)).guest
    assert fit(rows, labels, ["cpu_consumed"] * 9).guest


def test_a_guest_counts_half_and_lets_the_rule_speak(rows: PodBins) -> None:
    home = PodModel()
    away = replace(home, services=frozenset({"another"}))
    rule = home.rule_weight * rows.rule + home.rule_intercept
    np.testing.assert_allclose(away.log_odds(rows), (home.log_odds(rows) + rule) / 2)
    broken = replace(rows, features=np.full_like(rows.features, np.nan))
    np.testing.assert_allclose(home.log_odds(broken), rule)


def test_one_class_teaches_nothing(rows: PodBins) -> None:
    with pytest.raises(ValueError, match="one class only: no row has a latency fault"):
        fit(rows, np.zeros(len(rows.at), dtype=bool), [])


def test_arrays_make_the_same_model_and_those_of_another_schema_none(rows: PodBins) -> None:
    model = fit(rows, truth(rows, FAULTS)[0], ["a"])
    arrays, meta = model.to_arrays()
    assert PodModel.from_arrays(arrays, json.loads(json.dumps(meta))) == model
    with pytest.raises(ValueError, match="made for feature schema calls-old"):
        PodModel.from_arrays(arrays, {**meta, "schema": "calls-old"})


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("cartservice-579f59597d-wc2lz", "cartservice"),
        ("ts-food-service-f5756978c-k8vqf", "ts-food-service"),
        ("127.0.0.1:9100", "127.0.0.1:9100"),
    ],
)
def test_a_service_is_its_pods_name_without_the_hashes(pod: str, name: str) -> None:
    assert service(pod) == name


HEADER = "trace,start_ns,caller,callee,op,client_us,server_us,ok\n"


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_calls_are_ordered_by_when_they_finished_and_minus_one_is_unknown(tmp_path: Path) -> None:
    file = write(
        tmp_path / "d_edges.csv.gz", HEADER + "a,5000000000,x,y,op,3000000,1,1\nb,6000000000,y,z,op,500,-1,1\n"
    )
    calls, digest = read_calls(tmp_path)
    assert calls.pods == ("x", "y", "z") and len(digest) == 64
    np.testing.assert_allclose(calls.done, [6.0005, 8.0])
    assert calls.callee.tolist() == [2, 1] and np.isnan(calls.worked[0])
    assert read_calls(file)[1] == digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"d_edges\.csv: has no column start_ns, caller"),
        (HEADER, r"d_edges\.csv: holds no calls"),
        (HEADER + "a,1,x,y,op,5,1,1\na,1,x,y,op,soon,1,1\n", r"d_edges\.csv: row 3: client_us: 'soon' is no number"),
        (HEADER + "a,1,x\n", r"d_edges\.csv: no table of calls"),
    ],
)
def test_bad_calls_are_named_by_file_row_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EdgesError, match=message):
        read_calls(write(tmp_path / "d_edges.csv", text))


def test_a_cut_off_file_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "d_edges.csv.gz", HEADER + "a,1,x,y,op,5,1,1\n" * 500)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(EdgesError, match="truncated or damaged"):
        read_calls(file)


def test_faults_are_read_as_utc_in_order(tmp_path: Path) -> None:
    listed = {"04": [{"inject_time": "1970-01-01 00:01:00", "inject_pod": "b", "inject_type": "return"}]}
    listed["03"] = [{"inject_time": "1970-01-01 00:00:10", "inject_pod": "a", "inject_type": "cpu_consumed"}]
    write(tmp_path / "d-fault_list.json", json.dumps(listed))
    assert read_faults(tmp_path) == [Fault("a", "cpu_consumed", 10.0), Fault("b", "return", 60.0)]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("[", "no list of faults"),
        ('{"03": [{"inject_pod": "a"}]}', r"03\[0\]: has no 'inject_time'"),
        ('[{"inject_time": "noon", "inject_pod": "a", "inject_type": "b"}]', r"inject_time: 'noon' is no time"),
        ('{"03": 5}', "03: is no list of faults"),
    ],
)
def test_bad_lists_of_faults_are_named(tmp_path: Path, told: str, message: str) -> None:
    with pytest.raises(EdgesError, match=message):
        read_faults(write(tmp_path / "f.json", told))
