"""The compiled part of `compiled`: Python's own random numbers, arrivals and a run of a plain fleet, by numba.

Each function does what the simulator does, in the same order and with the same arithmetic, so that the results are the
same bit for bit. Needs the extra `[fast]`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

jit = numba.njit(cache=True)

ROUND_ROBIN, RANDOM, LEAST_OF_TWO, LEAST_OF_ALL = range(4)
SLOW, RAMP_SLOW, COLD, LEAK = range(4)
WORDS, SHIFT = 624, 397  # of the Mersenne twister MT19937
PLACE = WORDS  # the state's last element is the place of the next word


@jit
def _word(state: Ints) -> int:
    """32 bits. `state` has shape (625,), as `random.Random.getstate` gives it. Source: Matsumoto, Nishimura 1998."""
    place = state[PLACE]
    if place >= WORDS:
        for k in range(WORDS):
            y = (state[k] & 0x80000000) | (state[(k + 1) % WORDS] & 0x7FFFFFFF)
            state[k] = state[(k + SHIFT) % WORDS] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
        place = 0
    state[PLACE] = place + 1
    y = state[place]
    y ^= y >> 11
    y ^= (y << 7) & 0x9D2C5680
    y ^= (y << 15) & 0xEFC60000
    return int(y ^ (y >> 18))


@jit
def uniform(state: Ints) -> float:
    """What `random.Random.random` gives next."""
    a, b = _word(state) >> 5, _word(state) >> 6
    return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0)


@jit
def steps(state: Ints, rates: Floats, ends: Floats, seconds: float, share: float, due: Floats, post: Flags) -> int:
    """Poisson arrivals as `replay.arrivals` draws them, into `due` and `post`; how many, -1 where they do not fit."""
    count, t = 0, 0.0
    for rate, end in zip(rates, ends):  # noqa: B905 - unknown to numba
        if rate <= 0.0:
            t = max(t, end)
            continue
        while t < min(end, seconds):
            if count == len(due):
                return -1
            t += -math.log(1.0 - uniform(state)) / rate
            due[count] = t
            post[count] = uniform(state) < share
            count += 1
    return count


@jit
def _heavier(weight: Floats, at: float) -> int:
    """The lane in which a point of the weights, laid end to end, falls."""
    for lane in range(len(weight)):
        at -= weight[lane]
        if at < 0.0:
            return lane
    return len(weight) - 1


@jit
def pick(policy: int, state: Ints, weight: Floats, flight: Ints, credit: Floats) -> int:
    """The lane that a policy picks, with `flight` attempts in flight at each."""
    n = len(weight)
    if policy == ROUND_ROBIN:
        best = 0
        for lane in range(n):
            credit[lane] += weight[lane]
            if credit[lane] > credit[best]:
                best = lane
        credit[best] -= weight.sum()
        return best
    if policy == RANDOM:
        return _heavier(weight, uniform(state) * weight.sum())
    if policy == LEAST_OF_ALL:
        least, ties = math.inf, 0
        for lane in range(n):
            cost = (flight[lane] + 1) / weight[lane]
            if cost < least:
                least, ties = cost, 0
            ties += cost == least
        skip = int(uniform(state) * ties) if ties > 1 else 0
        for lane in range(n):
            if (flight[lane] + 1) / weight[lane] == least:
                if not skip:
                    return lane
                skip -= 1
    if n < 2:
        return 0
    if (weight == weight[0]).all():
        first, second = int(uniform(state) * n), int(uniform(state) * (n - 1))
        second += second >= first
    else:
        total = weight.sum()
        first = _heavier(weight, uniform(state) * total)
        second = _heavier(weight, uniform(state) * total)
    mine, other = (flight[first] + 1) / weight[first], (flight[second] + 1) / weight[second]
    return second if other < mine or (other == mine and uniform(state) < 0.5) else first


@jit
def _slower(kinds: Ints, spans: Floats, first: int, last: int, now: float) -> float:
    """The factor on service times that the faults from `first` to `last` come to. `spans` are (start, end, value)."""
    factor = 1.0
    for k in range(first, last):
        start, end, value = spans[k]
        if start <= now < end:
            x = (now - start) / (end - start)
            if kinds[k] == SLOW:
                factor *= value
            elif kinds[k] == RAMP_SLOW:
                factor *= 1.0 + (value - 1.0) * x
            elif kinds[k] == COLD:
                factor *= 1.0 + (value - 1.0) * (1.0 - x)
            else:
                factor *= 1.0 + (now - start) / value
    return factor


@jit
def _push(when: Floats, order: Ints, who: Ints, size: int, at: float, number: int, request: int) -> None:
    """Into the heap of departures, whose key is (when, order)."""
    k = size
    while k:
        up = (k - 1) >> 1
        if when[up] < at or (when[up] == at and order[up] < number):
            break
        when[k], order[k], who[k] = when[up], order[up], who[up]
        k = up
    when[k], order[k], who[k] = at, number, request


@jit
def _pop(when: Floats, order: Ints, who: Ints, size: int) -> None:
    """Takes the first of the `size` departures out."""
    last = size - 1
    at, number, request = when[last], order[last], who[last]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= last:
            break
        right = child + 1
        if right < last and (when[right] < when[child] or (when[right] == when[child] and order[right] < order[child])):
            child = right
        if at < when[child] or (at == when[child] and number < order[child]):
            break
        when[k], order[k], who[k] = when[child], order[child], who[child]
        k = child
    when[k], order[k], who[k] = at, number, request


@jit
def _join(i: int, request: int, head: Ints, tail: Ints, after: Ints, waiting: Ints) -> None:
    """Into the queue of an instance."""
    if waiting[i]:
        after[tail[i]] = request
    else:
        head[i] = request
    tail[i] = request
    waiting[i] += 1


@jit
def _next(i: int, head: Ints, after: Ints, waiting: Ints, ended: Floats) -> int:
    """The first in the queue of an instance whose client has not gone, or -1."""
    while waiting[i]:
        following = head[i]
        head[i] = after[following]
        waiting[i] -= 1
        if math.isnan(ended[following]):
            return int(following)
    return -1


@jit
def run(
    policy: int, state: Ints, weight: Floats, due: Floats, times: Floats, kind: Ints, slots: Ints, backlog: Ints,
    faults: Ints, fault_kinds: Ints, spans: Floats, timeout: float, end: float,
    lane: Ints, ended: Floats, status: Ints, served: Ints,
) -> int:  # fmt: skip
    """A run; the departures handled until `end`, or -1 where a backlog overflows.

    `times` (kinds, requests) are service times, `kind` says which row an instance has; its faults are those from
    `faults[i]` to `faults[i + 1]`. Filled: `lane` and `ended` and `status` by request (NaN and 0 before), `served`.
    """
    n, instances = len(due), len(weight)
    flight, busy, waiting = np.zeros(instances, np.int64), np.zeros(instances, np.int64), np.zeros(instances, np.int64)
    head, tail = np.full(instances, -1, np.int64), np.full(instances, -1, np.int64)
    after = np.full(n, -1, np.int64)  # whom a request that waits is followed by
    credit = np.zeros(instances)
    room = slots.sum() + 1
    when, order, who = np.zeros(room), np.zeros(room, np.int64), np.zeros(room, np.int64)
    size = number = index = oldest = handled = 0
    while True:
        earliest = when[0] if size else math.inf
        arrives = due[index] if index < n else math.inf
        expires = due[oldest] + timeout if oldest < n else math.inf
        if arrives <= earliest and arrives <= expires:
            if arrives == math.inf:
                return handled
            i = pick(policy, state, weight, flight, credit)
            lane[index] = i
            flight[i] += 1
            if busy[i] < slots[i]:
                busy[i] += 1
                slow = _slower(fault_kinds, spans, faults[i], faults[i + 1], arrives)
                _push(when, order, who, size, arrives + times[kind[i], index] * slow, number, index)
                size, number = size + 1, number + 1
            elif waiting[i] < backlog[i]:
                _join(i, index, head, tail, after, waiting)
            else:
                return -1
            index += 1
        elif expires <= earliest:
            if math.isnan(ended[oldest]):
                ended[oldest] = expires
                flight[lane[oldest]] -= 1
            oldest += 1
            while oldest < index and not math.isnan(ended[oldest]):
                oldest += 1
        else:
            if earliest > end:
                return handled
            handled += 1
            done = who[0]
            _pop(when, order, who, size)
            size -= 1
            i = lane[done]
            served[i] += 1
            busy[i] -= 1
            following = _next(i, head, after, waiting, ended)
            if following >= 0:
                busy[i] += 1
                slow = _slower(fault_kinds, spans, faults[i], faults[i + 1], earliest)
                _push(when, order, who, size, earliest + times[kind[i], following] * slow, number, following)
                size, number = size + 1, number + 1
            if math.isnan(ended[done]):
                ended[done] = earliest
                status[done] = 200
                flight[i] -= 1
