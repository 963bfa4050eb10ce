"""The seventeen standard scenarios, a function each; `replay.library` makes them.

Sources of the parameters: C3 (NSDI'15) and its simulator, Prequal (NSDI'24) and its reproductions, CausalSim (NSDI'23),
the studies of gray failures (HotOS'17) and of metastable ones (OSDI'22), Envoy's defaults, Lifeguard. Where a severity
has a list, the ranges beside it are what is held out.
"""

from __future__ import annotations

import math
from dataclasses import replace

from replay.scenario import Clients, Fault, Scenario
from replay.stage import PATIENCE, Stage
from replay.troubles import fault


def s1_slow_node(stage: Stage) -> Scenario:
    """One instance is 1.2 to 10 times slower."""
    start, end = stage.window()
    factor = stage.severity((1.2, 1.5, 2.0, 5.0, 10.0), ((1.6, 1.9), (2.5, 4.0), (6.0, 9.0)))
    return stage.on(stage.victims(), "slow", start, end, factor=factor)


def s1_slow_share(stage: Stage) -> Scenario:
    """Three, five or seven in ten instances run at 0.3 to 0.8 of their speed, each at its own."""
    start, end = stage.window()
    share = stage.severity((0.3, 0.5, 0.7), ((0.35, 0.45), (0.55, 0.65)))
    low, high = (0.35, 0.75) if stage.held_out else (0.3, 0.8)
    return stage.make(
        {i: [fault("slow", start, end, factor=1 / stage.rng.uniform(low, high))] for i in stage.victims(share)}
    )


def s1_very_slow(stage: Stage) -> Scenario:
    """One in eight instances is 16 times slower."""
    start, end = stage.window()
    return stage.on(stage.victims(1 / 8), "slow", start, end, factor=stage.severity((16.0,), ((11.0, 14.0),)))


_GRAY = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), ((0.03, 0.04), (0.06, 0.09), (0.12, 0.18), (0.25, 0.45))


def s2_gray_errors(stage: Stage) -> Scenario:
    """One instance fails 1 to 50 % of its requests in the time that it serves them, and is fine otherwise."""
    start, end = stage.window()
    return stage.on(stage.victims(), "errors", start, end, p=stage.severity(*_GRAY), seconds=stage.mean)


def s2_gray_hangs(stage: Stage) -> Scenario:
    """One instance never answers 1 to 50 % of its requests, and is fine otherwise."""
    start, end = stage.window()
    return stage.on(stage.victims(), "hang", start, end, p=stage.severity(*_GRAY))


def s3_sinkhole(stage: Stage) -> Scenario:
    """One in ten instances fails all it gets in a tenth of the service time, and so looks idle."""
    start, end = stage.window()
    part = stage.severity((0.1,), ((0.03, 0.08), (0.15, 0.3)))
    return stage.on(stage.victims(0.1), "errors", start, end, p=1.0, seconds=part * stage.mean)


def _crash(stage: Stage, kind: str, **values: float) -> Scenario:
    start, _ = stage.window()
    length = stage.at(stage.severity((20.0,), ((12.0, 18.0), (25.0, 40.0))))
    return stage.on(stage.victims(), kind, start, start + length, **values)


def s4_crash(stage: Stage) -> Scenario:
    """One instance refuses connections, and is back after 20 s of the base's schedule."""
    return _crash(stage, "down")


def s4_blackhole(stage: Stage) -> Scenario:
    """One instance accepts everything and answers nothing, for as long."""
    return _crash(stage, "hang", p=1.0)


def s4_unreachable(stage: Stage) -> Scenario:
    """One instance cannot be connected to, and says nothing of it, for as long."""
    return _crash(stage, "unreachable")


_PAUSES = (50.0, 200.0, 500.0, 2000.0), ((80.0, 150.0), (250.0, 450.0), (700.0, 1500.0))


def _pauses(stage: Stage, victims: list[int]) -> Scenario:
    """Pauses do not scale, and the time between them scales down to five times their length, no further."""
    start, end = stage.window()
    pause = stage.severity(*_PAUSES)
    period = max(stage.at(10.0), 5e-3 * pause)
    made = {}
    for i in victims:
        begin = start + (stage.rng.uniform(0.0, min(period, (end - start) / 2)) if len(victims) > 1 else 0.0)
        made[i] = [fault("gc", begin, end, pause_ms=pause, period=period)]
    return stage.make(made)


def s5_pauses(stage: Stage) -> Scenario:
    """One instance stops for 50 ms to 2 s every 10 s."""
    return _pauses(stage, stage.victims())


def s5_pauses_of_all(stage: Stage) -> Scenario:
    """Every instance does, each at its own moments."""
    return _pauses(stage, list(range(stage.n)))


def s5_pauses_that_grow(stage: Stage) -> Scenario:
    """One instance stops in each 5 s, first for 100 ms, and twice as long after each 30 s."""
    start, end = stage.window()
    pause = stage.severity((100.0,), ((60.0, 90.0), (120.0, 200.0)))
    period = max(stage.at(5.0), 10e-3 * pause)
    return stage.on(stage.victims(), "gc", start, end, pause_ms=pause, period=period, double=stage.at(30.0))


def _brownout(stage: Stage, kind: str) -> Scenario:
    start, _ = stage.window()
    lost = stage.severity((0.4,), ((0.25, 0.35), (0.45, 0.6)))
    value = {"factor": 1 / (1 - lost)} if kind == "slow" else {"slots": 1 - lost}
    return stage.on(stage.victims(0.25), kind, start, start + stage.at(stage.rng.uniform(20.0, 60.0)), **value)


def s6_brownout(stage: Stage) -> Scenario:
    """A quarter of the instances loses 40 % of its speed for 20 to 60 s, without an error."""
    return _brownout(stage, "slow")


def s6_brownout_of_slots(stage: Stage) -> Scenario:
    """A quarter of the instances loses 40 % of its slots (rounded) for 20 to 60 s."""
    return _brownout(stage, "shrink")


def _leak(stage: Stage) -> tuple[Scenario, float, float]:
    start, end = stage.window()
    tau = stage.at(stage.severity((60.0, 120.0, 300.0, 600.0), ((80.0, 100.0), (150.0, 250.0), (400.0, 500.0))))
    restart = stage.at(15.0)
    faults: list[Fault] = [
        fault("leak", start, end, tau=tau),
        fault("gc", start, end, pause_ms=200.0, period=max(stage.at(10.0), 1.0), grow=1.0),
        fault("down", end, end + restart),
    ]
    return stage.make({stage.victims()[0]: faults}), start, end


def s7_leak(stage: Stage) -> Scenario:
    """One instance slows down as 1 + t/τ, pauses ever longer, crashes, and is back after 15 s."""
    return _leak(stage)[0]


def _shift(stage: Stage, shape: str) -> Scenario:
    scenario, start, end = _leak(stage)
    middle, third = (start + end) / 2, stage.seconds / 3
    factor = max(1.0, min(1.3, 0.95 / stage.load))
    steps: list[tuple[float, float]] = {
        "sudden": [(middle, factor)],
        "gradual": [(middle + third * k / 10, 1 + (factor - 1) * (k + 1) / 10) for k in range(10)],
        "recurring": [(start + third * k / 5, factor if k % 2 == 0 else 1.0) for k in range(6)],
    }[shape]
    return replace(scenario, load=replace(scenario.load, work=((0.0, 1.0), *steps)))


def s7_leak_and_sudden_shift(stage: Stage) -> Scenario:
    """The same, and half-way all requests become up to 30 % heavier, within what the fleet can serve."""
    return _shift(stage, "sudden")


def s7_leak_and_gradual_shift(stage: Stage) -> Scenario:
    """The same, in ten steps."""
    return _shift(stage, "gradual")


def s7_leak_and_recurring_shift(stage: Stage) -> Scenario:
    """The same, to and fro."""
    return _shift(stage, "recurring")


def s8_skew(stage: Stage) -> Scenario:
    """Service times differ by 5 to the power of U(-1, 1), for good."""
    base = stage.severity((5.0,), ((2.5, 4.0), (6.0, 8.0)))
    return stage.make(means=[base ** stage.rng.uniform(-1.0, 1.0) for _ in range(stage.n)])


def s8_half_slow(stage: Stage) -> Scenario:
    """Half of the instances is half as fast, for good."""
    factor = stage.severity((2.0,), ((1.5, 1.8), (2.3, 3.5)))
    slow = set(stage.victims(0.5))
    return stage.make(means=[factor if i in slow else 1.0 for i in range(stage.n)])


def s9_rates_that_flip(stage: Stage) -> Scenario:
    """Every 10 to 500 ms each instance is five times slower, or not, by a coin; the load is of the mean capacity."""
    period = stage.severity((10.0, 50.0, 100.0, 200.0, 300.0, 500.0), ((20.0, 40.0), (120.0, 180.0), (350.0, 450.0)))
    factor = stage.severity((5.0,), ((3.0, 4.0), (6.0, 7.0)))
    flips = fault("flip", 0.0, stage.seconds, factor=factor, period=period / 1e3 * stage.mean / 0.01)
    return stage.make({i: [flips] for i in range(stage.n)}, share=(1 + 1 / factor) / 2)


def _antagonists(stage: Stage) -> tuple[dict[int, list[Fault]], float]:
    heavy = stage.severity((8.0,), ((5.0, 7.0), (9.0, 11.0)))
    light = 1.6  # three of eight cores taken
    order = stage.rng.sample(range(stage.n), stage.n)
    made: dict[int, list[Fault]] = {}
    left = 0.0
    for rank, i in enumerate(order):
        factor = heavy if rank < round(0.4 * stage.n) else light if rank < round(0.7 * stage.n) else 1.0
        left += (1 + 1 / factor) / 2 / stage.n  # busy for half of the time
        if factor > 1.0:
            made[i] = [fault("bursts", 0.0, stage.seconds, factor=factor, low=0.2, high=5.0)]
    return made, left


def s10_antagonists(stage: Stage) -> Scenario:
    """Four in ten machines are now and then left with one core in eight, three with five; three are clean."""
    made, left = _antagonists(stage)
    return stage.make(made, share=left)


def s10_antagonists_and_ramp(stage: Stage) -> Scenario:
    """The same under a load that rises from 0.75 to 1.74 of the mean capacity, whatever load is asked for."""
    made, left = _antagonists(stage)
    levels = (0.75, 0.83, 0.93, 1.03, 1.14, 1.27, 1.41, 1.57, 1.74)
    rates = [(stage.seconds * k / len(levels), level / stage.load) for k, level in enumerate(levels)]
    return stage.make(made, share=left, rates=rates)


def _zone(stage: Stage, kind: str, **values: float) -> Scenario:
    start, end = stage.window()
    ill = stage.victims(stage.severity((0.25, 0.4), ((0.3, 0.35), (0.42, 0.45))))
    zones = ["b"] * stage.n
    for i in ill:
        zones[i] = "a"
    return stage.make({i: [fault(kind, start, end, **values)] for i in ill}, zones=zones)


def s11_zone_slow(stage: Stage) -> Scenario:
    """A zone of a quarter or two fifths becomes five times slower, together."""
    return _zone(stage, "slow", factor=stage.severity((5.0,), ((3.0, 4.0), (6.0, 8.0))))


def s11_zone_errors(stage: Stage) -> Scenario:
    """A zone of a quarter or two fifths fails 30 % of its requests, together."""
    return _zone(stage, "errors", p=stage.severity((0.3,), ((0.15, 0.25), (0.35, 0.5))), seconds=stage.mean)


def s12_retry_storm(stage: Stage) -> Scenario:
    """All lose 70 to 90 % of their speed for 9 to 12 s; clients ask again three times, each after 3 medians.

    The service is narrower than elsewhere: with sigma 0.6 one request in thirty would exceed 3 medians by itself, and
    the fleet could tip without a trigger. The trigger's length does not scale, but fits in a quarter of the whole.
    """
    start, _ = stage.window()
    spread = 0.35
    lost = stage.severity((0.7, 0.8, 0.9), ((0.72, 0.78), (0.82, 0.88)))
    length = min(stage.rng.uniform(9.0, 12.0), stage.seconds / 4)
    median = stage.mean * math.exp(-(spread**2) / 2)
    clients = Clients(timeout=PATIENCE * stage.mean, retries=3, attempt_timeout=3 * median)
    slow = fault("slow", start, start + length, factor=1 / (1 - lost))
    return stage.make({i: [slow] for i in range(stage.n)}, spread=spread, clients=clients)


def s13_cold_start(stage: Stage) -> Scenario:
    """One instance restarts in 15 s, is five times slower at first, and warms up in 30 s."""
    start, _ = stage.window()
    factor = stage.severity((5.0,), ((3.0, 4.0), (6.0, 9.0)))
    faults = [
        fault("down", start - stage.at(15.0), start),
        fault("cold", start, start + stage.at(30.0), factor=factor),
    ]
    return stage.make({stage.victims()[0]: faults})


def s14_double_load(stage: Stage) -> Scenario:
    """The rate doubles, to the load asked for; no instance is at fault."""
    start, end = stage.window()
    return stage.make(rates=((0.0, 0.5), (start, 1.0), (end, 0.5)))


def s14_heavier_requests(stage: Stage) -> Scenario:
    """Requests become half as heavy again, up to the load asked for; no instance is at fault."""
    start, end = stage.window()
    factor = stage.severity((1.5,), ((1.3, 1.45), (1.6, 1.8)))
    return stage.make(rates=((0.0, 1 / factor),), work=((0.0, 1.0), (start, factor), (end, 1.0)))


def s14_other_mix(stage: Stage) -> Scenario:
    """Requests are lighter and heavier by turns, from span to span; no instance is at fault."""
    start, end = stage.window()
    steps = []
    for k in range(10):
        steps.append((start + (end - start) * k / 10, stage.rng.uniform(0.5, 1.0 + 0.4 * (k % 2))))
    return stage.make(work=((0.0, 1.0), *steps, (end, 1.0)))


def _stalls(stage: Stage) -> list[tuple[float, float]]:
    start, _ = stage.window()
    length = stage.severity((0.2, 0.5, 1.0, 2.0), ((0.3, 0.4), (0.6, 0.9), (1.2, 1.8)))
    gap = max(stage.at(25.0), 2 * length)
    return [(start + gap * k, length) for k in range(4)]


def s15_gateway_stalls(stage: Stage) -> Scenario:
    """The gateway itself stands still for 0.2 to 2 s, four times; no instance is at fault."""
    return stage.make(stalls=[(0, at, length) for at, length in _stalls(stage)])


def s15_one_gateway_stalls(stage: Stage) -> Scenario:
    """One of three gateways stands still, four times; no instance is at fault."""
    return stage.make(gateways=3, stalls=[(1, at, length) for at, length in _stalls(stage)])


def s15_one_gateway_is_far(stage: Stage) -> Scenario:
    """One of three gateways sees ten times the latency, of all instances alike: its network is at fault."""
    start, end = stage.window()
    ms = 1e3 * stage.mean * (stage.severity((10.0,), ((6.0, 8.0), (12.0, 15.0))) - 1) / 2
    far = fault("delay", start, end, ms=ms, gateway=0)
    return stage.make({i: [far] for i in range(stage.n)}, gateways=3)


def _flapping(stage: Stage, kind: str, **values: float) -> Scenario:
    """Five seconds each do not scale, but at least three bad spans fit."""
    start, end = stage.window()
    span = min(stage.severity((5.0,), ((3.0, 4.5), (6.0, 8.0))), (end - start) / 6)
    count = int((end - start) / (2 * span))
    bad = [(start + 2 * span * k, start + 2 * span * k + span) for k in range(count)]
    return stage.make({stage.victims()[0]: [fault(kind, a, b, **values) for a, b in bad]})


def s16_flapping_errors(stage: Stage) -> Scenario:
    """One instance fails everything for 5 s, works for 5 s, and so on."""
    return _flapping(stage, "errors", p=1.0)


def s16_flapping_slow(stage: Stage) -> Scenario:
    """One instance is eight times slower for 5 s, works for 5 s, and so on."""
    return _flapping(stage, "slow", factor=8.0)


def s17_loss(stage: Stage) -> Scenario:
    """The path from one of two gateways to one instance loses packets, each resent after 200 ms."""
    start, end = stage.window()
    lost = stage.severity((0.01, 0.05, 0.2), ((0.02, 0.04), (0.07, 0.15)))
    path = fault("loss", start, end, p=lost, gateway=0)
    return replace(stage.make({stage.victims()[0]: [path]}), gateways=2)


def s17_delay(stage: Stage) -> Scenario:
    """The path from one of two gateways to one instance takes five service times longer, there and back."""
    start, end = stage.window()
    longer = stage.severity((5.0,), ((2.5, 4.0), (6.0, 9.0)))
    path = fault("delay", start, end, ms=1e3 * longer * stage.mean / 2, gateway=0)
    return replace(stage.make({stage.victims()[0]: [path]}), gateways=2)


def s17_far_share(stage: Stage) -> Scenario:
    """Two fifths of the instances have ten times the network delay, which is half a service time then, for good."""
    share = stage.severity((0.4,), ((0.25, 0.35), (0.45, 0.55)))
    near = stage.mean / 20
    far = fault("delay", 0.0, stage.seconds, ms=1e3 * 9 * near / 2)
    return replace(stage.make({i: [far] for i in stage.victims(share)}), wire=near)
