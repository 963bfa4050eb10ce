from __future__ import annotations

import copy
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from adaptive.telemetry import counters as words
from adaptive.telemetry.counters import Counters, finished
from adaptive.telemetry.durations import Durations
from adaptive.telemetry.metrics import Facts, Metrics, Process


def endpoint(address: str, **changes: Any) -> dict[str, Any]:
    return {
        "address": address,
        "health": "HEALTHY",
        "weight": 100,
        "probability": 0.25,
        "suspicion": 0.1,
        "in_flight": 3,
        "causes": {"RESPONSE": 90, "CONNECT_REFUSED": 10},
        "statuses": {"2xx": 80, "5xx": 10, "none": 10},
        "latency": {"counts": [1, 5, 90], "sum_seconds": 4.5},
    } | changes


def report(*endpoints: dict[str, Any]) -> dict[str, Any]:
    ticks = Durations()
    for seconds in (0.001, 0.004, 3.0):
        ticks.add(seconds)
    return {
        "outcomes": 1000,
        "observer": {"blind": ""},
        "model": {"enabled": True, "name": "logistic", "schema": "abc", "rows": 512},
        "histogram_bounds": [0.001, 0.01],
        "clusters": [
            {
                "name": "api",
                "mode": "fallback",
                "reason": "unsure: no label yet",
                "panic": False,
                "typical_seconds": 0.012,
                "guard": "",
                "model_log_loss": None,
                "rule_log_loss": 0.25,
                "endpoints": list(endpoints),
            }
        ],
        "brain": {
            "ring_lost": [0, 7],
            "snapshot": 42,
            "ticks": ticks.report(),
            "recorder": {
                "recording": True,
                "reason": None,
                "rows": 9,
                "dropped_rows": 1,
                "failures": 2,
                "deleted_files": 3,
            },
        },
    }


def values(metrics: Metrics, openmetrics: bool = False) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, _ = metrics.render("application/openmetrics-text; version=1.0.0" if openmetrics else None)
    parse = parse_openmetrics if openmetrics else parse_plain
    samples = [s for family in parse(body.decode()) for s in family.samples]
    found = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(found) == len(samples), "a series appears twice"
    return found


class Reading:
    """Samples by name and labels."""

    def __init__(self, metrics: Metrics, openmetrics: bool = False) -> None:
        self.values = values(metrics, openmetrics)

    def __call__(self, name: str, /, **labels: str) -> float | None:
        return self.values.get((f"adaptive_{name}", frozenset(labels.items())))


def test_the_counts_of_all_workers_are_added_up() -> None:
    counters = Counters.create(2)
    for worker in (0, 1):
        counters.row(worker)[words.RETRIES] += 5
        counters.row(worker)[words.REJECT_NO_ROUTE] += 1
        counters.row(worker)[words.CONNECTIONS_OPEN] += 2
    read = Reading(Metrics(counters))
    assert read("retries_total") == 10
    assert read("rejects_total", reason="no_route") == 2
    assert read("rejects_total", reason="slow_body") == 0
    assert read("connections_open") == 4


@pytest.mark.parametrize("openmetrics", [False, True])
def test_requests_are_counted_by_route_and_class_with_their_durations(openmetrics: bool) -> None:
    counters = Counters.create(1)
    metrics = Metrics(counters)
    metrics.configure(["front", "api"])
    row = counters.row(0)
    for seconds in (0.0004, 0.001, 0.03, 99.0):
        finished(row, counters.block(1), 200, seconds)
    finished(row, counters.block(None), 404, 0.0001)
    read = Reading(metrics, openmetrics)
    assert read("requests_total", route="api", code_class="2xx") == 4
    assert read("requests_total", route="front", code_class="2xx") == 0
    assert read("requests_total", route="none", code_class="4xx") == 1
    assert read("request_duration_seconds_bucket", route="api", le="0.001") == 2
    assert read("request_duration_seconds_bucket", route="api", le="0.05") == 3
    assert read("request_duration_seconds_count", route="api") == 4
    assert read("request_duration_seconds_sum", route="api") == pytest.approx(99.0314)


def test_routes_beyond_the_bound_are_one() -> None:
    counters = Counters.create(1, routes=2)
    metrics = Metrics(counters)
    metrics.configure([f"r{n}" for n in range(5)])
    for route in range(5):
        finished(counters.row(0), counters.block(route), 200, 0.01)
    read = Reading(metrics)
    assert read("requests_total", route="r1", code_class="2xx") == 1
    assert read("requests_total", route="r2", code_class="2xx") is None
    assert read("requests_total", route="other", code_class="2xx") == 3


def test_a_route_that_moves_in_a_reload_takes_its_counts_along() -> None:
    counters = Counters.create(1)
    metrics = Metrics(counters)

    def hit(route: int, times: int) -> None:
        for _ in range(times):
            finished(counters.row(0), counters.block(route), 200, 0.01)

    metrics.configure(["a", "b"])
    hit(0, 3)
    hit(1, 5)
    metrics.configure(["new", "a", "b"])
    hit(0, 1)
    hit(1, 10)
    hit(2, 100)
    read = Reading(metrics)
    assert [read("requests_total", route=r, code_class="2xx") for r in ("new", "a", "b")] == [1, 13, 105]
    metrics.configure(["b"])
    hit(0, 1000)
    read = Reading(metrics)
    assert [read("requests_total", route=r, code_class="2xx") for r in ("new", "a", "b")] == [None, None, 1105]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_an_endpoint_shows_its_state_and_what_it_did(openmetrics: bool) -> None:
    metrics = Metrics(Counters.create(1))
    metrics.brain(report(endpoint("127.0.0.1:9100"), endpoint("127.0.0.1:9101", health="EJECTED", probability=None)))
    read = Reading(metrics, openmetrics)
    who = {"cluster": "api", "endpoint": "127.0.0.1:9100"}
    assert read("endpoint_attempts_total", **who, cause="connect_refused") == 10
    assert read("endpoint_responses_total", **who, code_class="5xx") == 10
    assert read("endpoint_latency_seconds_bucket", **who, le="0.01") == 5
    assert read("endpoint_latency_seconds_count", **who) == 90
    assert read("endpoint_latency_seconds_sum", **who) == 4.5
    assert read("endpoint_health", **who, health="healthy") == 1
    assert read("endpoint_weight", **who) == 100
    assert read("endpoint_failure_probability", **who) == 0.25
    assert read("endpoint_attempts_open", **who) == 3
    who["endpoint"] = "127.0.0.1:9101"
    assert read("endpoint_health", **who, health="ejected") == 1
    assert read("endpoint_failure_probability", **who) is None


def test_the_brain_its_model_and_its_recorder_show_their_state() -> None:
    metrics = Metrics(Counters.create(1))
    assert Reading(metrics)("brain_reporting") == 0
    metrics.brain(report(endpoint("a:1")))
    read = Reading(metrics)
    assert read("brain_reporting") == 1
    assert read("outcomes_total") == 1000
    assert read("outcomes_lost_total", worker="1") == 7
    assert read("snapshot_version") == 42
    assert read("model_info", name="logistic", schema="abc") == 1
    assert read("model_trained_rows_total") == 512
    assert read("cluster_fallback", cluster="api", reason="unsure") == 1
    assert read("cluster_panic", cluster="api") == 0
    assert read("cluster_model_log_loss", cluster="api") is None
    assert read("cluster_rule_log_loss", cluster="api") == 0.25
    assert read("brain_tick_duration_seconds_bucket", le="0.005") == 2
    assert read("brain_tick_duration_seconds_count") == 3
    assert read("recorder_recording") == 1
    assert read("recorder_dropped_rows_total") == 1


def test_endpoints_beyond_the_bound_are_added_up_as_one() -> None:
    metrics = Metrics(Counters.create(1), endpoints=2)
    metrics.brain(report(*(endpoint(f"10.0.0.{n}:80", health="EJECTED" if n == 4 else "HEALTHY") for n in range(5))))
    read = Reading(metrics)
    assert read("endpoint_weight", cluster="api", endpoint="10.0.0.1:80") == 100
    assert read("endpoint_weight", cluster="api", endpoint="10.0.0.2:80") is None
    who = {"cluster": "api", "endpoint": "other"}
    assert read("endpoint_attempts_total", **who, cause="response") == 270
    assert read("endpoint_latency_seconds_count", **who) == 270
    assert read("endpoint_latency_seconds_sum", **who) == 13.5
    assert read("endpoint_attempts_open", **who) == 9
    assert read("endpoint_health", **who, health="healthy") == 2
    assert read("endpoint_health", **who, health="ejected") == 1
    assert read("endpoint_weight", **who) is None


def test_the_number_of_series_is_bounded_whatever_the_brain_reports() -> None:
    metrics = Metrics(Counters.create(1, routes=8), endpoints=10)
    metrics.configure([f"r{n}" for n in range(1000)])
    sizes = []
    for count in (100, 500):
        wide = report(*(endpoint(f"10.0.{n // 250}.{n % 250}:80", latency=fine(n)) for n in range(count)))
        wide["histogram_bounds"] = [0.0005 * 1.2**k for k in range(63)]
        metrics.brain(wide)
        sizes.append(len(values(metrics)))
    assert sizes[0] == sizes[1] < 700


def fine(n: int) -> dict[str, Any]:
    return {"counts": [n + k for k in range(64)], "sum_seconds": 1.0}


def test_of_a_fine_histogram_the_shown_buckets_are_exact() -> None:
    metrics = Metrics(Counters.create(1))
    wide = report(endpoint("a:1", latency=fine(0)))
    wide["histogram_bounds"] = [float(k + 1) for k in range(63)]
    metrics.brain(wide)
    read = Reading(metrics)
    shown = {k: v for (name, k), v in read.values.items() if name == "adaptive_endpoint_latency_seconds_bucket"}
    assert len(shown) == 17
    for labels, value in shown.items():
        le = dict(labels)["le"]
        assert value == (63 if le == "+Inf" else float(le) - 1)


def test_reasons_are_labels_of_few_values() -> None:
    metrics = Metrics(Counters.create(1))
    for reason in ("drifting: log loss 0.31 against 0.12", "drifting: log loss 0.33 against 0.12"):
        one = report()
        one["clusters"][0] |= {"reason": reason, "guard": "panic at 3.5 of 7"}
        metrics.brain(one)
        read = Reading(metrics)
        assert read("cluster_fallback", cluster="api", reason="drifting") == 1
        assert read("cluster_guarded", cluster="api", guard="panic at # of #") == 1


def test_the_supervisor_shows_its_processes_and_reloads() -> None:
    metrics = Metrics(Counters.create(1))
    metrics.supervisor(
        Facts(
            processes=[Process("brain", up=False, restarts=2), Process("worker-0", up=True, lag=1.5)],
            ready=True,
            started_at=1.7e9,
            reloads={"success": 3, "failure": 1},
            last_reload_ok=False,
            last_success_at=1.7e9 + 5,
        )
    )
    read = Reading(metrics)
    assert read("process_up", process="brain") == 0
    assert read("process_restarts_total", process="brain") == 2
    assert read("process_up", process="worker-0") == 1
    assert read("process_loop_lag_seconds_total", process="worker-0") == 1.5
    assert read("config_reloads_total", result="failure") == 1
    assert read("config_last_reload_successful") == 0
    assert read("config_last_reload_success_timestamp_seconds") == 1.7e9 + 5
    assert (read("ready"), read("draining")) == (1, 0)
    assert any(name == "adaptive_build_info" for name, _ in read.values)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text; version=1.0.0, text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0",
        ),
        ("application/openmetrics-text; version=nonsense", "text/plain; version=0.0.4"),
        ("\x00;;,=,version=", "text/plain; version=0.0.4"),
    ],
)
def test_the_format_is_what_the_scraper_accepts(accept: str | None, expected: str) -> None:
    body, content_type = Metrics(Counters.create(1)).render(accept)
    assert content_type.startswith(expected)
    assert body.endswith(b"# EOF\n") == content_type.startswith("application/openmetrics-text")


def test_every_name_keeps_the_conventions() -> None:
    metrics = Metrics(Counters.create(1))
    metrics.configure(["r"])
    metrics.brain(report(endpoint("a:1")))
    for family in parse_plain(metrics.render()[0].decode()):
        assert family.name.startswith("adaptive_"), family.name
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_ms", "_milliseconds", "_kb", "_percent")), family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name


def test_a_report_of_another_version_is_shown_as_far_as_it_goes() -> None:
    metrics = Metrics(Counters.create(1))
    metrics.brain({})
    assert Reading(metrics)("brain_reporting") == 1
    full = report(endpoint("a:1"))
    for key in list(full):
        part = copy.deepcopy(full)
        del part[key]
        metrics.brain(part)
        metrics.render()
    for key in list(full["clusters"][0]["endpoints"][0]):
        part = copy.deepcopy(full)
        del part["clusters"][0]["endpoints"][0][key]
        metrics.brain(part)
        assert Reading(metrics)("outcomes_total") == 1000


def test_hostile_names_are_escaped() -> None:
    metrics = Metrics(Counters.create(1))
    metrics.configure(['a"b\nc\\d'])
    assert Reading(metrics)("requests_total", route='a"b\nc\\d', code_class="2xx") == 0


def test_what_the_controller_really_reports_is_shown() -> None:
    import json

    from adaptive.controller import Controller
    from adaptive.telemetry import columns
    from adaptive.types import Cluster, Endpoint, Member, OutcomesSeen, Tick, Topology

    address = Endpoint("api", "127.0.0.1", 9100)
    controller = Controller(Topology(1, (Cluster("api", 0, (Member(address, 0),)),), 1))
    rows = columns.empty(10)
    rows["sent_at"], rows["first_byte"], rows["done"], rows["status"], rows["propensity"] = 1.0, 1.01, 1.02, 200, 1.0
    controller.handle(Tick(1.0))
    controller.handle(OutcomesSeen(1.1, rows))
    controller.handle(Tick(1.2))
    metrics = Metrics(Counters.create(1))
    metrics.brain(json.loads(json.dumps(controller.report())))
    read = Reading(metrics)
    who = {"cluster": "api", "endpoint": "127.0.0.1:9100"}
    assert read("endpoint_attempts_total", **who, cause="response") == 10
    assert read("endpoint_responses_total", **who, code_class="2xx") == 10
    assert read("endpoint_latency_seconds_count", **who) == 10
    assert read("endpoint_latency_seconds_sum", **who) == pytest.approx(0.1)
    assert read("endpoint_health", **who, health="healthy") == 1
    assert read("endpoint_weight", **who) == 100
    assert read("outcomes_total") == 10


def test_an_envoy_that_is_back_before_its_old_stream_is_dead_is_one_series() -> None:
    metrics = Metrics(Counters.create(1))
    old = {"node": "edge-0", "behind": True, "refused": {}, "acks": 9, "nacks": 0, "dropped": 4}
    metrics.elsewhere({"nodes": [old, {**old, "behind": False, "acks": 2}]})
    read = Reading(metrics)
    assert read("envoy_nodes") == 2
    assert read("envoy_behind", node="edge-0") == 0
    assert read("envoy_acks_total", node="edge-0") == 2
