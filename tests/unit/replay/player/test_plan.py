"""Which requests are sent again, when, and as which bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptive.telemetry.columns import empty
from adaptive.types import Cause, Mark
from replay.player.message import MessageError, shape
from replay.player.plan import Filter, PlanError, chosen, plan, recorded, summary
from replay.player.target import TargetError, target
from replay.trace import Header, Trace

ENDS = {"0": ("api", "127.0.0.1:9100"), "1": ("web", "127.0.0.1:9101")}


def trace(extra: dict[str, Any] | None = None) -> Trace:
    """Four requests: 1 is retried after a failure, 2 is a POST, 3 fails, 4 is of another route and cluster."""
    told = [
        (10.0, 10.1, 1, 1, 0, 0, Cause.RESET, Mark.REPEATABLE),
        (10.1, 10.3, 1, 2, 200, 0, Cause.RESPONSE, Mark.REPEATABLE | Mark.FINAL),
        (12.0, 12.5, 2, 1, 503, 0, Cause.RESPONSE, Mark.FINAL),
        (11.0, 11.5, 3, 1, 0, 0, Cause.TIMEOUT_ROUTE, Mark.REPEATABLE | Mark.FINAL),
        (20.0, 20.5, 4, 1, 404, 1, Cause.RESPONSE, Mark.REPEATABLE | Mark.FINAL),
    ]
    rows = empty(len(told))
    for row, (sent, done, request, attempt, status, other, cause, marks) in zip(rows, told, strict=True):
        row["sent_at"], row["done"], row["request"], row["attempt"] = sent, done, request, attempt
        row["status"], row["cause"], row["marks"] = status, cause, marks
        row["cluster"] = row["route"] = row["slot"] = other
    rows["bytes_up"][2] = 5
    header = Header(routes=("front", "back"), clusters=("api", "web"), endpoints=ENDS)
    return Trace(header, rows, "", extra or {})


def test_attempts_of_one_request_become_one_that_was_due_when_the_first_was_sent() -> None:
    found = recorded(trace())
    assert found.due.tolist() == [0.0, 1.0, 2.0, 10.0]
    assert found.number.tolist() == [1, 3, 2, 4]
    assert found.latency == pytest.approx([0.3, 0.5, 0.5, 0.5])
    assert found.status.tolist() == [200, 0, 503, 404]
    assert found.failed.tolist() == [False, True, True, False]
    assert found.method.tolist() == ["GET", "GET", "POST", "GET"]


@pytest.mark.parametrize(
    ("by", "left"),
    [
        (Filter(), [1, 3, 2, 4]),
        (Filter(methods=("post",)), [2]),
        (Filter(methods=("repeatable",)), [1, 3, 4]),
        (Filter(methods=("other", "GET")), [1, 3, 2, 4]),
        (Filter(routes=("back",)), [4]),
        (Filter(clusters=("api",)), [1, 3, 2]),
        (Filter(statuses=("5xx", "0")), [3, 2]),
        (Filter(statuses=("404",), clusters=("web",)), [4]),
    ],
)
def test_filters_keep_what_they_name(by: Filter, left: list[int]) -> None:
    found = chosen(recorded(trace()), by)
    assert found.number.tolist() == left
    assert found.due[0] == 0.0


@pytest.mark.parametrize(
    ("by", "says"),
    [
        (Filter(routes=("frnt",)), "the trace has no route 'frnt'; it has 'back', 'front'"),
        (Filter(statuses=("many",)), "'many' is no status"),
        (Filter(statuses=("301",)), "none of the trace's 4 requests passes"),
    ],
)
def test_a_filter_that_leaves_nothing_says_what_there_is(by: Filter, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        chosen(recorded(trace()), by)


def test_a_share_is_the_same_for_the_same_seed_and_about_as_large_as_asked() -> None:
    rows = empty(4000)
    rows["request"] = rows["sent_at"] = np.arange(4000)
    rows["attempt"], rows["cause"] = 1, Cause.RESPONSE
    whole = recorded(Trace(Header(routes=("a",), clusters=("a",), endpoints=ENDS), rows))
    picked = [chosen(whole, Filter(share=0.25), seed).number.tolist() for seed in (1, 1, 2)]
    assert picked[0] == picked[1] != picked[2]
    assert abs(len(picked[0]) - 1000) < 4 * np.sqrt(4000 * 0.25 * 0.75)


def test_speed_rate_waits_and_loops_move_the_moments() -> None:
    whole = recorded(trace())
    assert plan(whole).due.tolist() == [0.0, 1.0, 2.0, 10.0]
    assert plan(whole, speed=2.0).due.tolist() == [0.0, 0.5, 1.0, 5.0]
    assert plan(whole, max_wait=1.5).due.tolist() == [0.0, 1.0, 2.0, 3.5]
    assert plan(whole, rate=3.0).due == pytest.approx([0.0, 0.1, 0.2, 1.0]), "three pauses in a second, as shaped"
    looped = plan(whole, max_wait=1.0, loops=2)
    assert looped.due == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert looped.index.tolist() == [0, 1, 2, 3] * 2


def test_a_dry_run_counts_what_would_be_sent() -> None:
    lines = list(summary(plan(recorded(trace()), loops=2)))
    assert lines[0].startswith("8 requests in 23.3 s, 2 times")
    assert "  method: GET 6, POST 2" in lines
    assert "  path: the trace knows none" in lines


def test_a_trace_without_rows_is_refused() -> None:
    with pytest.raises(PlanError, match="has no requests"):
        recorded(Trace(Header(), empty(0)))


def test_a_request_is_written_with_its_own_method_path_and_size() -> None:
    whole = recorded(trace())
    made = shape("h:1", ["X-From: tests", "accept:"], "/{route}/{number}")
    assert (
        made.message(whole, 0)
        == b"GET /front/1 HTTP/1.1\r\nHost: h:1\r\nUser-Agent: adaptive-replay\r\nX-From: tests\r\n\r\n"
    )
    assert made.message(whole, 2).startswith(b"POST /front/2 HTTP/1.1\r\n")
    assert made.message(whole, 2).endswith(b"content-length: 5\r\n\r\nxxxxx")


def test_a_log_knows_its_paths_and_methods_and_can_smuggle_nothing_through_them() -> None:
    paths = np.array(["/a?b=1", None, "/x HTTP/1.1\r\nevil: 1", "http://other/", "/é"], dtype=object)
    methods = np.array(["DELETE", None, "GET\r\n", "CONNECT", "HEAD"], dtype=object)
    whole = recorded(trace({"path": paths, "method": methods}))
    made = [shape("h", [], "/").message(whole, i).split(b"\r\n")[0] for i in range(4)]
    assert made == [b"DELETE /a?b=1 HTTP/1.1", b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"HEAD / HTTP/1.1"]


def test_the_host_can_be_set() -> None:
    assert b"\r\nHost: shop.example\r\n" in shape("h:1", ["Host: shop.example"], "/").message(recorded(trace()), 0)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("no colon", "write 'Name: value'"),
        ("Content-Length: 5", "is the sender's own"),
        ("X: a\r\nY: b", "characters that no header can"),
        ("Host:", "needs its host"),
        ("a b: c", "write 'Name: value'"),
    ],
)
def test_a_header_that_cannot_be_sent_is_quoted(header: str, says: str) -> None:
    with pytest.raises(MessageError, match=says):
        shape("h", [header], "/")


@pytest.mark.parametrize("path", ["x", "/a b", "/{rote}", ""])
def test_a_path_that_cannot_be_asked_for_is_quoted(path: str) -> None:
    with pytest.raises(MessageError, match="the path"):
        shape("h", [], path)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "127.9.9.9:1", "http://[::1]:80", "localhost", "https://localhost"]
)
def test_this_machine_may_be_sent_to(url: str) -> None:
    assert target(url).local


@pytest.mark.parametrize(
    "url", ["http://example.com", "10.0.0.1:80", "http://127.0.0.1.example.com", "http://[::ffff:8.8.8.8]", "0.0.0.0:1"]
)
def test_nobody_else_is_sent_to_unless_it_is_named(url: str) -> None:
    with pytest.raises(TargetError, match="--allow") as refused:
        target(url)
    found = str(refused.value).rpartition("--allow ")[2]
    assert not target(url, [found]).local


def test_what_is_allowed_for_one_port_is_not_for_another() -> None:
    assert target("http://a.test:81", ["a.test:81"]).port == 81
    with pytest.raises(TargetError):
        target("http://a.test:80", ["a.test:81"])


@pytest.mark.parametrize(
    "url", ["ftp://localhost", "http://", "http://localhost/path", "http://u@localhost", "http://localhost:99999"]
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(TargetError):
        target(url)
