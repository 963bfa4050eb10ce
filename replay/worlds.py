"""Worlds: a whole scenario with its policy and the model's settings, drawn from one seed.

Everything that can differ between two installations differs between two worlds: the fleet and how even it is, the load,
the clients, the number of gateways and workers, the rules, and any number of faults of any kind, at once, of one
instance, of several or of all. Most worlds are short and end while their faults last. One in HEALING is followed by a
calm tail, which is long enough for all traffic to have come back.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from adaptive.controller import Settings
from replay.scenario import FAULTS, Clients, Fault, Instance, Load, Rules, Scenario, Service
from replay.troubles import fault

HEALING = 12  # one world in so many has a calm tail
CALM = 6.0  # seconds before the first fault of such a world, to compare the tail with
EVEN = 8.0  # seconds of the tail that are compared, after the bound
# Of the ladder and the windows (adaptive.policy): what the bound is made of.
EVIDENCE = 2.0  # seconds that it takes at most to eject for what was seen while the faults lasted
FIRST_HOLD, MOST_HOLD = 3.0, 48.0  # seconds for which an endpoint stays ejected; it doubles with each failed trial
UNTRIED = 32.0  # seconds without a failure after which an endpoint returns, whatever traffic it gets
RETURN = 3.0  # seconds in which a returned endpoint's weight comes back
# Policies in the order of how often they are drawn.
POLICIES = ("adaptive",) * 8 + ("adaptive_fast", "least_request", "peak_ewma", "round_robin", "random")
MOST_MEAN = 0.15  # seconds: slower services see too few requests in a short world


@dataclass(frozen=True, slots=True)
class World:
    """One draw. What follows from the scenario is worked out anew after each change of it."""

    seed: int
    scenario: Scenario
    policy: str
    settings: Settings
    heals: bool  # whether a calm tail follows

    def faults(self) -> list[tuple[int, int]]:
        """Places (instance, fault) of every fault, in order."""
        return [(i, j) for i, x in enumerate(self.scenario.instances) for j in range(len(x.faults))]

    def trouble(self) -> tuple[float, float]:
        """From when until when anything is other than calm; (0, 0) where nothing ever is."""
        spans = [(f.start, f.end) for i in self.scenario.instances for f in i.faults]
        spans += [(at, at + length) for _, at, length in self.scenario.stalls]
        for steps in (self.scenario.load.rates, self.scenario.load.work):
            if len(steps) > 1:
                spans.append((steps[1][0], steps[-1][0]))
        return (min(a for a, _ in spans), max(b for _, b in spans)) if spans else (0.0, 0.0)

    def bound(self) -> float:
        """Seconds after the trouble within which everyone has returned and is at its full weight.

        The last failures that belong to the trouble are those of requests sent in it, a time-out later; EVIDENCE later
        the last ejection is made. A hold is at most twice as long as the one before it, each of which went by within
        the trouble: so it is at most the trouble's own length and the first hold. A trial ends well by its successes,
        or without failures after UNTRIED, which one failure by chance may begin anew: one probe in fifty is given up.
        """
        start, end = self.trouble()
        hold = min(MOST_HOLD, end - start + 2 * FIRST_HOLD)
        return self.scenario.clients.timeout + EVIDENCE + hold + 2 * UNTRIED + RETURN

    def without(self, instance: int, place: int) -> World:
        """The same world without one of its faults. The tail keeps its length."""
        instances = list(self.scenario.instances)
        left = tuple(f for j, f in enumerate(instances[instance].faults) if j != place)
        instances[instance] = replace(instances[instance], faults=left)
        return self.changed(instances=tuple(instances))

    def changed(self, **parts: object) -> World:
        """The same world with other parts of its scenario."""
        return replace(self, scenario=replace(self.scenario, **parts))  # type: ignore[arg-type]

    def document(self) -> dict[str, object]:
        """What a scenario's notes say of it."""
        s = self.settings
        model = {"horizon": s.horizon, "seed": s.seed, "enabled": s.enabled, "explore": s.explore}
        return {"seed": self.seed, "policy": self.policy, "model": model, "heals": self.heals}


def draw(seed: int, policy: str = "") -> World:
    """The world of a seed. `policy` replaces the one drawn."""
    rng = random.Random(f"swarm/{seed}")
    heals = seed % HEALING == 0
    drawn = rng.choice(POLICIES)
    chosen = policy or ("adaptive" if heals else drawn)
    instances, rate = _fleet(rng, heals)
    clients = _clients(rng, heals, max(i.service.mean for i in instances))
    gateways, workers = rng.choice((1, 1, 1, 2, 3)), rng.choice((1, 1, 1, 2, 4))
    start = CALM if heals else rng.uniform(0.5, 3.0)
    length = rng.uniform(2.0, 6.0)
    instances = _faulty(rng, instances, start, start + length, gateways)
    stalls = tuple(
        (rng.randrange(gateways), rng.uniform(start, start + length - 1.0), rng.uniform(0.05, 1.0))
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    )
    world = World(
        seed,
        Scenario(
            f"world {seed}",
            instances,
            _load(rng, heals, rate, start, start + length),
            clients,
            _rules(rng, heals, clients.timeout),
            seconds=start + length + rng.uniform(0.0, 2.0),
            warm=min(1.0, start / 2),
            seed=seed,
            gateways=gateways,
            workers=workers,
            stalls=stalls,
        ),
        chosen,
        Settings(
            horizon=rng.choice((1.0, 2.0, 5.0)),
            seed=rng.randrange(1000),
            enabled=rng.random() < 0.9,
            explore=rng.choice((0.01, 0.02)) if heals else rng.choice((0.0, 0.004, 0.02, 1.0)),
        ),
        heals,
    )
    if heals:
        world = world.changed(seconds=world.trouble()[1] + world.bound() + EVEN)
    return world.changed(notes={"swarm": world.document()})


def _fleet(rng: random.Random, heals: bool) -> tuple[tuple[Instance, ...], float]:
    """Instances, and the rate that they are to see: a rate that is cheap to simulate, and services that fit it."""
    n = rng.choice((2, 3, 3, 4, 5, 5, 6, 8, 10, 10, 16, 25, 40))
    even = rng.random() < 0.6
    rate = rng.uniform(60.0, 150.0) if heals else rng.uniform(100.0, 250.0)
    load = rng.uniform(0.1, 0.6) if heals else rng.choice((rng.uniform(0.05, 0.9), rng.uniform(0.9, 1.6)))
    slots = [rng.choice((1, 2, 4, 6))] * n if even else [rng.choice((1, 2, 4, 6)) for _ in range(n)]
    # Before a calm tail: speeds that differ by 1.5 at most, beyond which the policy holds slowness itself for a fault;
    # and no heavy tails, of which one probe in twenty is given up (three means), and counted as a failure.
    low, high = (0.82, 1.2) if heals else rng.choice(((1.0, 1.0), (0.4, 2.5)))
    speed = [1.0] * n if even else [rng.uniform(low, high) for _ in range(n)]
    light = (("lognormal", 0.6), ("lognormal", 0.3), ("normal", 0.5), ("constant", 0.6))
    heavy = (("lognormal", 1.0), ("exponential", 0.6), ("quantiles", 0.6))
    kind, spread = rng.choice(light if heals else (*light, *heavy))
    mean = min(MOST_MEAN, load * sum(s / v for s, v in zip(slots, speed, strict=True)) / rate)
    capacity = [round(s / v, 2) for s, v in zip(slots, speed, strict=True)]
    weights = [1.0] * n if rng.random() < 0.7 else [rng.choice((0.01, 0.5, 1.0, 3.0)) for _ in range(n)]
    if heals:  # weights that say what the instances can bear: with others a calm fleet is not at rest either
        weights = [1.0] * n if even else capacity
    tiers = [0] * n if heals or rng.random() < 0.8 else [rng.choice((0, 0, 1, 5)) for _ in range(n)]
    backlog = rng.choice((64, 1024)) if heals else rng.choice((0, 1, 16, 1024))
    return tuple(
        Instance(
            f"10.1.0.{i + 1}:80",
            Service(mean * speed[i], spread, kind, _table(mean * speed[i]) if kind == "quantiles" else ()),
            slots=slots[i],
            backlog=backlog,
            weight=weights[i],
            zone=f"zone{i % 3}",
            priority=tiers[i],
        )
        for i in range(n)
    ), rate


def _table(mean: float) -> tuple[float, ...]:
    """Quantiles of an exponential service, cut off at the 99th percentile."""
    return tuple(-mean * math.log(1.0 - min(0.99, k / 20)) for k in range(21))


def _clients(rng: random.Random, heals: bool, mean: float) -> Clients:
    """Before a calm tail, clients are patient: an impatient crowd can keep a fleet down after everything has healed."""
    if heals:
        return Clients(timeout=2.0, retries=rng.choice((0, 0, 1)), backoff=rng.choice((0.0, 0.1)))
    timeout = rng.choice((0.3, 1.0, 2.0, 5.0))
    attempt = rng.choice((0.0, 0.0, 3 * mean, 20 * mean))
    return Clients(timeout, rng.choice((0, 0, 1, 3)), rng.choice((0.0, 0.02, 0.3)), min(attempt, timeout))


def _load(rng: random.Random, heals: bool, rate: float, start: float, end: float) -> Load:
    middle = (start + end) / 2
    rates = ((0.0, rate), (start, rate * rng.choice((0.0, 0.3, 2.0))), (middle, rate)) if rng.random() < 0.3 else (
        (0.0, rate),
    )  # fmt: skip
    work = ((0.0, 1.0), (start, rng.uniform(0.5, 2.0)), (end, 1.0)) if rng.random() < 0.2 else ((0.0, 1.0),)
    burst = (2.0, 0.5, 2.0) if not heals and rng.random() < 0.2 else None
    posts = (0.0, 0.2, 0.5, 0.5) if heals else (0.0, 0.2, 0.5, 0.5, 1.0)
    return Load(rates, rng.choice(posts), burst, work)


def _rules(rng: random.Random, heals: bool, timeout: float) -> Rules:
    whole = rng.choice((15.0, timeout, timeout / 2))
    return Rules(
        route_timeout=15.0 if heals else whole,
        retries=rng.choice((0, 1, 2, 2, 5)),
        retry_statuses=frozenset(rng.choice(((502, 503, 504), (), (500, 503)))),
        attempt_timeout=0.0 if heals or rng.random() < 0.7 else rng.uniform(0.05, 0.5) * whole,
        connect_timeout=rng.choice((0.05, 0.3)),
        budget=rng.choice(((0.2, 10.0, 10.0), (0.2, 10.0, 10.0), (0.0, 0.0, 10.0), (0.0, 1.0, 1.0), (1.0, 0.0, 5.0))),
        request_limit=0 if heals or rng.random() < 0.7 else rng.choice((1, 20, 100)),
        check_interval=rng.choice((0.0, 0.5, 0.5, 2.0)),
        check_timeout=0.3,
    )


def _faulty(
    rng: random.Random, instances: tuple[Instance, ...], start: float, end: float, gateways: int
) -> tuple[Instance, ...]:
    """The fleet with up to four faults of any kind, each of one instance, of some, or of all."""
    made: list[list[Fault]] = [[] for _ in instances]
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
        kind = rng.choice(tuple(FAULTS))
        share = rng.choice((0.0, 0.0, 0.25, 0.5, 1.0))
        victims = sorted(rng.sample(range(len(instances)), max(1, round(share * len(instances)))))
        begin = rng.uniform(start, end - 1.0)
        last = end if rng.random() < 0.5 else rng.uniform(begin + 0.2, end)
        values = _severity(rng, kind, end - start, gateways)
        for i in victims:
            made[i].append(fault(kind, begin, last, **values))
    return tuple(replace(x, faults=tuple(made[i])) for i, x in enumerate(instances))


def _severity(rng: random.Random, kind: str, length: float, gateways: int) -> dict[str, float]:
    """The parameters of one fault."""
    low = rng.uniform(0.05, 0.5)
    of = float(rng.choice((-1, rng.randrange(gateways))))
    ranges: dict[str, dict[str, float]] = {
        "slow": {"factor": rng.uniform(0.5, 20.0)},
        "ramp_slow": {"factor": rng.uniform(2.0, 20.0)},
        "cold": {"factor": rng.uniform(2.0, 10.0)},
        "leak": {"tau": rng.uniform(0.1, 2.0) * length},
        "errors": {"p": rng.choice((0.05, 0.3, 1.0)), "seconds": rng.choice((0.0, 0.002, 0.1))},
        "ramp_errors": {"p": rng.uniform(0.1, 1.0)},
        "hang": {"p": rng.choice((0.1, 1.0))},
        "gc": {"pause_ms": rng.uniform(50.0, 400.0), "period": rng.uniform(0.5, 2.0), "grow": rng.choice((0.0, 1.0))},
        "shrink": {"slots": rng.uniform(0.1, 0.9)},
        "flip": {"factor": rng.uniform(2.0, 10.0), "period": rng.uniform(0.02, 0.5)},
        "bursts": {"factor": rng.uniform(2.0, 10.0), "low": low, "high": low + rng.uniform(0.0, 1.0)},
        "delay": {"ms": rng.uniform(1.0, 200.0), "gateway": of},
        "loss": {"p": rng.uniform(0.01, 0.5), "rto_ms": rng.choice((50.0, 200.0)), "gateway": of},
    }
    return ranges.get(kind, {})
