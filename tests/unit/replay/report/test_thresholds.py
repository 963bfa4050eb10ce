"""Thresholds: what can be promised, how it is judged, and what is said of what cannot be read."""

from __future__ import annotations

import pytest

from replay.report.document import Document, document, row
from replay.report.thresholds import ThresholdError, judge, parse

POLICIES = ("adaptive", "least_request", "least_request@random=0.01", "c3")


def made() -> Document:
    found = document("evaluate", "t", "c")
    found["rows"] = [
        row("s", "adaptive", 1000, {"p50": 0.01, "p99": 0.1, "failed": 2}, {"p99": [0.08, 0.15], "failed": [0, 6]}),
        row("s", "least_request", 1000, {"p50": 0.02, "p99": 0.2, "failed": 20}, {"p99": [0.15, 0.3]}),
    ]
    found["refused"] = [{"policy": "c3", "reason": "too little overlap"}]
    found["compared"] = [
        {
            "scenario": "s",
            "policy": "least_request",
            "to": "adaptive",
            "figure": "p99",
            "difference": 0.1,
            "interval": [0.02, 0.12],
            "better": False,
        }
    ]
    return found


def judged(text: str) -> list[tuple[str, bool, bool | None]]:
    return [(one["policy"], one["ok"], one["supported"]) for one in judge([parse(text, POLICIES)], made())]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("p99<200ms", 0.2),
        ("p99 < 0.2s", 0.2),
        ("adaptive:p50<=20ms", 0.02),
        ("failed<0.1%", 0.001),
        ("failed<=5", 5),
        ("mean>=1us", 1e-6),
        ("least_request@random=0.01:p99<1m30s", 90.0),
        ("adaptive/least_request:p99<90%", 0.9),
        ("adaptive/least_request:failed<=1", 1.0),
    ],
)
def test_thresholds_are_written_as_in_k6(text: str, value: float) -> None:
    assert parse(text, POLICIES).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p99", "'p99' is no threshold: write 'p99<200ms'"),
        ("p99=200ms", "is no threshold"),
        ("p99<200", "'p99<200': a duration needs its unit"),
        ("p99<fast", "'p99<fast'"),
        ("p98<1s", "there is no figure 'p98'"),
        ("adaptiv:p99<1s", "there is no policy 'adaptiv' here; did you mean \"adaptive\"?"),
        ("adaptive/none:p99<1", "there is no policy 'none'"),
        ("failed<1ms", "'1ms' is not a share such as 0.1% or a number of requests"),
        ("adaptive/c3:p99<1ms", "'1ms' is not a share such as 90%"),
        ("p99<-1ms", "'p99<-1ms'"),
        ("", "'' is no threshold"),
    ],
)
def test_what_cannot_be_read_is_quoted_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ThresholdError) as found:
        parse(text, POLICIES)
    assert says in str(found.value) or (says.startswith("'p99<200'") and "'p99<200'" in str(found.value))


def test_a_promise_is_judged_on_the_figure_and_the_interval_stands_beside_it() -> None:
    assert judged("adaptive:p99<200ms") == [("adaptive", True, True)]
    assert judged("adaptive:p99<120ms") == [("adaptive", True, None)]
    assert judged("adaptive:p99<90ms") == [("adaptive", False, None)]
    assert judged("adaptive:p99<50ms") == [("adaptive", False, False)]
    assert judged("adaptive:p50<50ms") == [("adaptive", True, None)], "no interval supports nothing"


def test_without_a_policy_it_is_asked_of_every_one_and_a_refused_one_breaks_it() -> None:
    assert judged("p99<=100ms") == [("adaptive", True, None), ("least_request", False, False), ("c3", False, None)]


def test_failures_are_a_share_or_a_number() -> None:
    assert judged("adaptive:failed<0.3%") == [("adaptive", True, None)]
    assert judged("adaptive:failed<2") == [("adaptive", False, None)]


def test_a_quotient_takes_its_interval_from_the_paired_difference() -> None:
    found = judge([parse("adaptive/least_request:p99<0.95", POLICIES)], made())[0]
    assert found["value"] == pytest.approx(0.5) and found["ok"] and found["supported"]
    assert found["interval"] == pytest.approx([0.4, 0.9])
    found = judge([parse("least_request/adaptive:p99>1.5", POLICIES)], made())[0]
    assert found["interval"] == pytest.approx([1.2, 2.2]) and found["supported"] is None


def test_a_quotient_with_what_was_refused_is_broken() -> None:
    found = judge([parse("adaptive/c3:p99<1", POLICIES)], made())[0]
    assert not found["ok"] and found["reason"] == "c3 has no row here"
