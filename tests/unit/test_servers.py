"""What departures tell of the servers behind an endpoint."""

from __future__ import annotations

import heapq
import random
from collections import deque

import pytest

from adaptive.servers import Servers, commonest


def serve(servers: Servers, count: int, mean: float, rate: float, seconds: float, pause: float = 0.0) -> None:
    """A queue before so many servers, log-normal service, Poisson arrivals; `pause`: everything stands for so long,
    once a second.
    """
    rng = random.Random(f"{count}/{mean}/{rate}")
    free, waiting, ends = count, deque[float](), list[float]()
    now, held, learned = 0.0, 0, 0.0
    arrives = rng.expovariate(rate)
    while now < seconds:
        if ends and ends[0] <= arrives:
            now = heapq.heappop(ends)
            if pause and now % 1.0 < pause:
                heapq.heappush(ends, int(now) + pause + 1e-6 * len(ends) + 1e-9)
                continue
            servers.note(held, now, True)
            held, free = held - 1, free + 1
        else:
            now, arrives = arrives, arrives + rng.expovariate(rate)
            servers.note(held, now, False)
            held += 1
            waiting.append(rng.lognormvariate(0.0, 0.6) * mean / 1.197)
        while free and waiting:
            free -= 1
            heapq.heappush(ends, now + waiting.popleft())
        if now - learned > 0.25:
            learned = now
            servers.learn(now)


@pytest.mark.parametrize("count", [2, 6, 12])
def test_a_busy_endpoint_shows_how_many_it_serves_at_a_time_and_how_fast(count: int) -> None:
    servers = Servers()
    serve(servers, count, 0.04, 0.9 * count / 0.04, 40.0)
    assert servers.count == pytest.approx(count, abs=max(1, 0.25 * count))
    assert servers.service == pytest.approx(0.04, rel=0.15)


def test_where_it_never_queues_the_most_it_had_at_a_time_is_all_that_is_known() -> None:
    servers = Servers()
    serve(servers, 40, 0.04, 100.0, 40.0)
    assert 7 <= servers.count <= 16  # the mean is 4
    assert servers.service == pytest.approx(0.04, rel=0.15)


def test_few_answers_say_nothing() -> None:
    servers = Servers()
    serve(servers, 2, 0.04, 20.0, 1.0)
    assert servers.count == 0.0


def test_pauses_of_the_whole_endpoint_do_not_make_it_look_slow_for_good() -> None:
    servers = Servers()
    serve(servers, 6, 0.04, 75.0, 20.0)
    before = servers.service
    paused = Servers()
    serve(paused, 6, 0.04, 75.0, 20.0, pause=0.1)
    assert paused.service < 2.0 * before


def test_one_that_becomes_slow_with_a_long_queue_shows_how_much_it_still_serves() -> None:
    servers = Servers()
    serve(servers, 2, 0.04, 45.0, 40.0)
    now, gap = servers.at, 0.12  # six times slower: two servers answered each 20 ms
    for _ in range(300):  # twelve half-lives: nothing is left of what was before
        now += gap
        servers.note(30, now, True)
        servers.note(29, now, False)
        servers.learn(now)
    assert servers.count / servers.service == pytest.approx(1 / gap, rel=0.01)


def test_an_endpoint_too_slow_to_tell_its_servers_anew_still_shows_how_slow_it_is() -> None:
    """Eight times as slow with four servers it gives five answers a second, too few for both numbers."""
    servers = Servers()
    serve(servers, 4, 0.1, 36.0, 20.0)
    before, now = servers.service, servers.at
    assert before < 0.2
    for answer in range(100):  # 20 s with all four busy
        servers.note(4, now + 0.2 * answer, False)
        servers.note(4, now + 0.2 * answer + 0.1, True)
        servers.learn(now + 0.2 * answer + 0.1)
    assert servers.count >= 4
    assert servers.service == pytest.approx(0.8, rel=0.1)


def test_endpoints_alike_are_found_to_be_alike_and_another_keeps_its_own_number() -> None:
    """Service times are not exponential as the likelihood has it, which makes four servers look like five."""
    alike = [Servers() for _ in range(8)]
    for i, servers in enumerate(alike):  # at 70 %: each by itself shows little
        serve(servers, 4, 0.04, 70.0 + 0.1 * i, 15.0)
    narrow = Servers()
    serve(narrow, 2, 0.04, 45.0, 15.0)
    common = commonest(alike)
    alone = sum(servers.count == common for servers in alike)
    for servers in (*alike, narrow):
        servers.learn(servers.at, common)
    assert common == pytest.approx(4, abs=1)
    assert alone < 7 <= sum(servers.count == common for servers in alike)
    assert narrow.count < 4.0


def test_endpoints_that_differ_have_no_common_number() -> None:
    many = [Servers() for _ in range(8)]
    for i, servers in enumerate(many):
        serve(servers, 8 if i % 2 else 2, 0.04, 0.9 * (200.0 if i % 2 else 50.0) + 0.1 * i, 15.0)
    assert commonest(many[::2]) < commonest(many[1::2])
    assert commonest(many) == 0


def test_what_was_never_seen_to_queue_has_no_common_number() -> None:
    wide = [Servers() for _ in range(4)]
    for i, servers in enumerate(wide):
        serve(servers, 40, 0.04, 100.0 + i, 20.0)
    assert commonest(wide) == 0
    assert commonest([]) == 0
