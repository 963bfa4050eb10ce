"""The retry budget by itself, and what a request does when it is empty."""

from __future__ import annotations

import pytest

from adaptive.budget import RetryBudget
from tests.unit.gateway.plane_stub import CONFIG, make_world, sent

GET = b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POOR = CONFIG.replace("9003]", "9003], retry_budget: {ratio: 0, minimum: 0.1, window: 10s}")


def test_retries_are_a_share_of_the_requests_and_some_by_time() -> None:
    budget = RetryBudget(ratio=0.2, minimum=1.0, window=10.0, now=0.0)
    assert budget.withdraw(0.0) and not budget.withdraw(0.0)
    for _ in range(11):  # a tenth more than two tokens, since fifths are not exact
        budget.deposit()
    assert [budget.withdraw(0.0) for _ in range(3)] == [True, True, False]
    assert budget.withdraw(1.0) and not budget.withdraw(1.0)


def test_asking_takes_nothing() -> None:
    budget = RetryBudget(ratio=0.0, minimum=1.0, window=10.0, now=0.0)
    assert all(budget.affords(0.0) for _ in range(5))
    assert budget.withdraw(0.0)
    assert not budget.affords(0.0)


def test_what_is_not_used_within_the_window_is_lost() -> None:
    budget = RetryBudget(ratio=1.0, minimum=0.0, window=10.0, now=0.0)
    for _ in range(1000):
        budget.deposit()
    assert not budget.affords(10.0)


@pytest.mark.parametrize(("config", "again"), [(POOR, 0), (CONFIG, 1)])
def test_a_slow_attempt_is_only_given_up_where_another_may_follow(
    monkeypatch: pytest.MonkeyPatch, config: str, again: int
) -> None:
    world = make_world(monkeypatch, config)
    balancer = world.plane.clusters[0].balancer
    monkeypatch.setattr(type(balancer), "patience", lambda *_: 0.15)
    client = world.client()
    client.data_received(GET)
    upstream = world.open()
    for _ in range(10):
        world.pass_time(0.05)
    assert len(world.opening) == again
    if again:
        upstream = world.open()
    assert sent(client) == b""
    upstream.data_received(OK)
    assert sent(client).startswith(b"HTTP/1.1 200")


def test_a_slow_attempt_without_a_retry_to_follow_ends_with_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, POOR)
    balancer = world.plane.clusters[0].balancer
    monkeypatch.setattr(type(balancer), "patience", lambda *_: 0.15)
    client = world.client()
    client.data_received(GET)
    world.open()
    for _ in range(39):
        world.pass_time(0.05)
    assert sent(client) == b""
    for _ in range(2):
        world.pass_time(0.05)
    assert sent(client).startswith(b"HTTP/1.1 504")


def test_a_time_out_that_the_route_names_is_kept_without_a_retry_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, POOR.replace("retries: 2", "retries: 2, attempt_timeout: 300ms"))
    client = world.client()
    client.data_received(GET)
    world.open()
    for _ in range(9):
        world.pass_time(0.05)
    assert sent(client).startswith(b"HTTP/1.1 504")
