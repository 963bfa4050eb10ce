"""Admission by itself: calm passes, an overload is held to what can be served, and who is refused."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from adaptive.admission import ENTERS, GOAL, LASTS, REFUSED, SPARE, USABLE, WAITS, Admission, Rank

SERVICE, SLOTS = 0.04, 60


def calm(admission: Admission, now: float = 0.0, seconds: float = 4.0) -> float:
    """So many seconds at half the capacity; returns when they are over."""
    end = now + seconds
    while now < end:
        for _ in range(7):
            assert admission.enter(now, object()) == ENTERS
        now += 0.01
        for _ in range(7):
            admission.left(now, SERVICE, True)
    return now


def overload(admission: Admission, now: float, seconds: float = 2.0) -> float:
    """Answers come, but each after twenty times the calm latency, and twice as many enter as leave until the limit;
    for so long, and until no more are in flight than may be.
    """
    for _ in range(200):
        admission.enter(now, object())
    end = now + seconds
    while now < end or admission.in_flight > admission.limit:
        now += 0.01
        for _ in range(10):
            admission.left(now, 20 * SERVICE, True)
        for _ in range(20):
            if admission.in_flight < admission.limit:
                admission.enter(now, object())
    return now


def slower(admission: Admission, now: float, seconds: float = 20.0) -> float:
    """Everything takes ten times as long from now on, and no more comes than is answered; nobody may be refused."""
    under_way: deque[float] = deque()
    end = now + seconds
    while now < end:
        for _ in range(7):
            assert admission.enter(now, object()) == ENTERS
            under_way.append(now)
        now += 0.01
        while under_way and under_way[0] <= now - 10 * SERVICE:
            admission.left(now, now - under_way.popleft(), True)
    return now


def made(**more: Any) -> Admission:
    return Admission(10, 4096, 4096, 0.0, **more)


def test_in_calm_everybody_enters_whatever_comes_at_once() -> None:
    admission = made()
    now = calm(admission)
    assert not admission.held
    assert all(admission.enter(now, object()) == ENTERS for _ in range(2000))


def test_a_latency_that_rises_and_stays_is_no_overload() -> None:
    """A slower network: to hold requests back for it would be to refuse what is served."""
    admission = made()
    slower(admission, calm(admission))
    assert admission.recent > 9 * admission.base > 0.0
    assert not admission.held


def test_a_load_that_is_far_beyond_the_goal_is_held_at_once() -> None:
    admission = made()
    now = calm(admission)
    for _ in range(1500):
        admission.enter(now, object())
    for _ in range(12):
        now += 0.01
        for _ in range(4):
            admission.left(now, 20 * SERVICE, True)
    assert admission.held


def awake(admission: Admission, now: float, stood: float, growth: int) -> bool:
    """Stands still, finds what has come meanwhile, and answers 7 per hundredth of a second while 7 + `growth` come;
    whether anything was held back.
    """
    under_way = deque([now] * 7)
    now += stood
    for _ in range(int(700 * stood)):
        assert admission.enter(now, object()) == ENTERS
        under_way.append(now)
    held = False
    while now < 20.0 and not held:
        now += 0.01
        for _ in range(7):
            admission.left(now, now - under_way.popleft(), True)
        for _ in range(7 + growth):
            if admission.enter(now, object()) == ENTERS:
                under_way.append(now)
        held = admission.held
    return held


def test_what_comes_at_once_after_we_stood_still_is_no_overload_until_the_load_grows_beyond_it() -> None:
    for growth in (0, 7):
        admission = made()
        now = calm(admission)
        for _ in range(7):
            admission.enter(now, object())
        assert awake(admission, now, 2.0, growth) is (growth > 0)


def test_the_bound_that_is_configured_holds_in_calm_too() -> None:
    admission = Admission(10, 5, 4096, 0.0)
    assert [admission.enter(0.0, object()) for _ in range(6)] == [ENTERS] * 5 + [REFUSED]


def test_an_overload_is_held_to_throughput_times_the_goal() -> None:
    admission = made()
    overload(admission, calm(admission))
    assert admission.held
    bound = admission.rate * GOAL * admission.base
    assert admission.least <= admission.limit <= bound


def test_with_the_mechanism_off_only_the_bound_counts() -> None:
    admission = made(adaptive=False)
    now = overload(admission, calm(admission))
    assert not admission.held and admission.limit == 4096 and now > 0


def test_with_the_mechanism_off_calm_still_has_room_for_hedges_and_an_overload_has_none() -> None:
    admission = made(adaptive=False)
    now = calm(admission)
    assert admission.base > 0.0 and admission.spare
    overload(admission, now)
    assert not admission.spare and not admission.held


def test_days_without_a_request_overflow_nothing_and_what_comes_after_is_calm() -> None:
    for idle in (2 * 3600.0, 7 * 86_400.0, 1e9):
        admission = made()
        now = calm(admission)
        for _ in range(50):  # half of the clients leave: their patience is known, and so grows while nothing comes
            now += 0.01
            for k in range(4):
                admission.enter(now, object())
                admission.left(now, 2 * SERVICE, k < 2, k >= 2)
        admission.sweep(now := now + 0.1)
        assert admission.patience < 1.0
        now = calm(admission, now + idle)
        assert not admission.held and admission.patience > 1.0


def test_what_exceeds_the_limit_waits_and_enters_as_others_leave_or_is_turned_away_after_its_time() -> None:
    admission = made()
    now = overload(admission, calm(admission))
    while admission.in_flight < admission.limit:
        admission.enter(now, object())
    first, second = object(), object()
    assert admission.enter(now, first) == admission.enter(now, second) == WAITS
    assert admission.next(now) is None
    admission.left(now, 20 * SERVICE, True)
    assert admission.next(now) is first
    admission.sweep(now + admission.wait + 1.0)
    assert admission.turned_away == [second] and not admission.waiting


def flooded(load: float, seconds: float, burst: int = 0, timeout: float = 30.0) -> tuple[Admission, list[float], float]:
    """Sixty servers of 40 ms at a share of what they can serve, after calm, and so many requests at once. Returns the
    admission, when requests were refused as they came, in seconds since the load changed, and the longest that one took
    which was served.
    """
    rng, refused = random.Random(11), list[float]()
    admission = Admission(10, 4096, 100_000, 0.0)
    servers, ends = [0.0] * SLOTS, list[tuple[float, float]]()
    arrivals, now, longest = [8.0] * burst, 0.0, 0.0
    while now < 8.0 + seconds:
        now += rng.expovariate((0.7 if now < 8.0 else load) * SLOTS / SERVICE)
        arrivals.append(now)
    for now in sorted(arrivals):
        ends.sort()
        while ends and ends[0][0] <= now:
            end, came = ends.pop(0)
            longest = max(longest, end - came)
            admission.left(end, end - came, True)
            while (item := admission.next(end)) is not None:
                _serve(servers, ends, end, item, rng)
        entrance = admission.enter(now, now, timeout=timeout)
        if entrance == ENTERS:
            _serve(servers, ends, now, now, rng)
        elif entrance == REFUSED:
            refused.append(now - 8.0)
    return admission, refused, longest


def test_a_burst_that_passes_by_itself_is_served_though_it_takes_long() -> None:
    _, refused, longest = flooded(0.8, 12.0, burst=1200)
    assert not refused and longest > GOAL * SERVICE


def test_an_overload_that_ends_while_its_excess_can_still_be_served_in_time_refuses_nobody() -> None:
    """A fifth too much for twenty seconds is a backlog of four."""
    _, refused, longest = flooded(1.2, 20.0)
    assert not refused and 3.5 < longest < 5.0


def test_what_could_not_be_served_within_most_of_its_time_out_is_refused() -> None:
    admission, _, longest = flooded(1.2, 20.0, timeout=2.0)
    kept = USABLE * 2.0 * SLOTS / SERVICE
    assert 0.8 < admission.refused / (0.2 * 20.0 * SLOTS / SERVICE - kept) < 1.2
    assert longest < 2.0


def test_of_an_overload_that_lasts_the_excess_is_refused_once_it_has_waited_for_too_long() -> None:
    """It has on average after twice LASTS, for it grows evenly from when the goal is exceeded on."""
    load, seconds = 1.2, 60.0
    admission, refused, _ = flooded(load, seconds)
    begins = GOAL * SERVICE / (load - 1.0) + 2 * LASTS
    assert 0.8 * begins < min(refused) < 1.2 * begins
    assert 0.9 < admission.refused / ((load - 1.0) * seconds * SLOTS / SERVICE) < 1.0
    assert admission.held and admission.in_flight + admission.waiting < 1.1 * GOAL * admission.base * admission.rate


def beyond_the_goal() -> tuple[Admission, float, list[int]]:
    """An overloaded admission in which no more may wait; the requests that wait, as they came."""
    admission = made()
    now = overload(admission, calm(admission))
    admission.due = float("inf")
    while admission.in_flight < admission.limit:
        admission.enter(now, object())
    came = []
    for number in range(100_000):
        if admission.enter(now, number) != WAITS:
            break
        came.append(number)
    return admission, now, came


def test_who_waits_is_served_in_the_order_in_which_they_came() -> None:
    admission, now, came = beyond_the_goal()
    entered = []
    while admission.waiting:
        admission.left(now, SERVICE, True)
        entered.append(admission.next(now))
    assert entered == came and len(came) > 100


def test_a_request_waits_for_no_longer_than_leaves_its_time_out_for_the_endpoints_and_is_refused_after_it() -> None:
    admission, now, came = beyond_the_goal()
    for number in came:
        admission.forget(number, None, Rank.NORMAL)
    assert not admission.waiting and 0.0 < admission.there < 0.3
    count = 0
    while admission.enter(now, object(), timeout=0.6) == WAITS:
        count += 1
    wait = USABLE * 0.6 - admission.there
    assert count == max(admission.least, int(admission.rate * wait))
    assert admission.enter(now, object(), timeout=30.0) == WAITS
    admission.sweep(now + wait + 0.01)
    assert len(admission.turned_away) == count and admission.waiting == 1


def test_endpoints_that_have_become_much_slower_are_kept_busy_where_it_is_known_how_many_they_serve_at_a_time() -> None:
    """Thirty times slower, the goal's share of what they answer is fewer requests than they have places."""
    limits = []
    for served in (0.0, float(SLOTS)):
        admission = made()
        admission.served = served
        now = overload(admission, calm(admission))
        for _ in range(200):
            now += 0.1
            admission.enter(now, object())
            for _ in range(5):
                admission.left(now, 30 * SERVICE, True)
        assert admission.held
        limits.append(admission.limit)
    assert limits[0] < SLOTS <= limits[1]


def test_a_load_that_grows_leaves_no_room_for_second_copies_before_any_answer_is_slow() -> None:
    admission = made()
    now = calm(admission)
    assert admission.spare
    usual = admission.rate * admission.base
    for _ in range(int(usual) + 1):
        admission.enter(now, object())
    assert admission.spare
    for _ in range(int(usual)):
        admission.enter(now, object())
    assert not admission.spare and admission.recent <= SPARE * admission.base


def full(admission: Admission, now: float, client: str, rank: Rank = Rank.NORMAL) -> list[object]:
    """Fills the queue with requests of one client."""
    while admission.in_flight < admission.limit:
        admission.enter(now, object())
    items: list[object] = []
    while admission.enter(now, item := object(), client, rank) == WAITS:
        items.append(item)
    return items


def test_who_comes_while_the_endpoints_stand_still_for_less_than_may_be_waited_is_not_refused() -> None:
    admission = made()
    now = overload(admission, calm(admission), 1.0)
    found = []
    for _ in range(80):
        now += 0.01
        admission.sweep(now)
        found += [admission.enter(now, object(), timeout=2.0) for _ in range(7)]
    assert WAITS in found
    assert REFUSED not in found


def test_a_full_queue_makes_room_for_a_higher_priority_by_turning_the_newest_of_a_lower_one_away() -> None:
    admission = made()
    now = overload(admission, calm(admission))
    items = full(admission, now, "a", Rank.SHEDDABLE)
    assert admission.enter(now, mine := object(), "b", Rank.CRITICAL) == WAITS
    assert admission.turned_away == [items[-1]]
    admission.left(now, SERVICE, True)
    assert admission.next(now) is mine


def test_a_full_queue_makes_room_for_a_client_who_has_less_in_it_and_serves_clients_in_turn() -> None:
    admission = made()
    now = overload(admission, calm(admission))
    items = full(admission, now, "greedy")
    assert admission.enter(now, mine := object(), "modest") == WAITS
    assert admission.turned_away == [items[-1]]
    assert admission.enter(now, object(), "greedy") == REFUSED
    for _ in range(2):
        admission.left(now, SERVICE, True)
    assert [admission.next(now), admission.next(now)] == [items[0], mine]


def test_a_request_whose_client_left_while_it_waited_is_forgotten() -> None:
    admission = made()
    now = overload(admission, calm(admission))
    items = full(admission, now, "a")
    for item in items:
        admission.forget(item, "a", Rank.NORMAL)
    assert not admission.waiting
    admission.left(now, SERVICE, True)
    assert admission.next(now) is None


def test_clients_who_leave_while_they_wait_show_patience_and_who_has_waited_for_most_of_it_is_not_let_in() -> None:
    admission = made()
    now = overload(admission, calm(admission))
    while admission.in_flight < admission.limit:
        admission.enter(now, object())
    items = [object() for _ in range(90)]
    assert all(admission.enter(now, item, "a") == WAITS for item in items)
    now += 1.0
    for item in items[:30]:
        admission.forget(item, "a", Rank.NORMAL, 1.0)
    assert admission.enter(now, young := object(), "a") == WAITS
    admission.sweep(now := now + 0.03)
    assert admission.patience <= 1.05 and admission.wait < 0.5
    while admission.in_flight >= admission.limit:
        admission.left(now, SERVICE, True)
    assert admission.next(now) is young
    assert admission.turned_away == items[30:]


def test_a_request_that_is_forgotten_for_another_reason_says_nothing_of_patience() -> None:
    admission = made()
    now = overload(admission, calm(admission))
    for item in full(admission, now, "a"):
        admission.forget(item, "a", Rank.NORMAL)
    admission.sweep(now + 0.03)
    assert admission.patience == float("inf")


def test_those_who_ask_again_within_the_same_patience_do_not_make_it_seem_as_short_as_what_is_left_of_it() -> None:
    patience = []
    for again in (False, True):
        admission = made()
        now = calm(admission)
        for step in range(100):
            now += 0.01
            for k in range(8):
                admission.enter(now, object())
                seconds = 0.2 if again and step > 50 and k % 2 else 2.0
                admission.left(now, seconds, k < 4, k >= 4)
        patience.append(admission.patience)
    assert patience[0] == pytest.approx(2.0, rel=0.1)
    assert 0.8 < patience[1] < 2.0


def test_clients_who_hang_up_early_bound_what_is_worth_serving() -> None:
    admission = made()
    now = calm(admission)
    for _ in range(200):
        now += 0.01
        for _ in range(10):
            admission.enter(now, object())
        for k in range(min(10, admission.in_flight)):
            admission.left(now, 2 * SERVICE, k < 5, k >= 5)
    assert admission.held
    assert admission.limit <= max(admission.least, admission.rate * 2 * SERVICE)


def test_a_queue_before_servers_is_back_to_normal_soon_after_a_surge() -> None:
    """Sixty servers of 40 ms, 110 % of their capacity for six seconds, 70 % before and after."""
    rng = random.Random(7)
    admission, servers, queue = made(), [0.0] * SLOTS, deque[tuple[float, bool]]()
    now, refused, late = 0.0, 0, []
    ends: list[tuple[float, float]] = []
    while now < 20.0:
        now += rng.expovariate(1650.0 if 8.0 < now < 14.0 else 1050.0)
        ends.sort()
        while ends and ends[0][0] <= now:
            end, came = ends.pop(0)
            admission.left(end, end - came, True)
            while (item := admission.next(end)) is not None:
                _serve(servers, ends, end, item, rng)
        if now > 16.0:
            late.append(admission.in_flight)
        entrance = admission.enter(now, now)
        refused += entrance == REFUSED
        if entrance == ENTERS:
            _serve(servers, ends, now, now, rng)
    assert refused == 0 and not admission.turned_away  # the backlog is six tenths of a second: nobody is lost
    assert sum(late) / len(late) < 80  # as before the surge: 42 in service, and a few that wait
    assert not queue


def _serve(servers: list[float], ends: list[tuple[float, float]], now: float, came: float, rng: random.Random) -> None:
    first = min(range(SLOTS), key=servers.__getitem__)
    servers[first] = max(servers[first], now) + rng.lognormvariate(-3.4, 0.6)
    ends.append((servers[first], came))
