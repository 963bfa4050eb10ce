"""A request in a gateway and its attempts, in virtual time: what is known of each while it is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive.lanes import Lane

if TYPE_CHECKING:
    from replay.simulator.gateway import Worker
    from replay.simulator.instance import Instance


class Attempt:
    """One try at one instance. `deadline` 0: not worked out yet, and neither are `until` and `hedge_at`."""

    __slots__ = (
        "connect", "connected", "deadline", "exchange", "hedge_at", "in_flight", "instance", "lane", "marks", "met",
        "number", "open", "propensity", "sent_at", "until", "worker",
    )  # fmt: skip

    until: float
    hedge_at: float

    def __init__(
        self, exchange: Exchange, worker: Worker, lane: Lane, instance: Instance, now: float, number: int
    ) -> None:
        self.exchange, self.worker = exchange, worker
        self.lane, self.instance = lane, instance
        self.sent_at = now
        self.number = number
        self.in_flight = self.met = lane.in_flight + lane.others
        self.deadline = self.connect = self.propensity = 0.0
        self.connected = self.open = True
        self.marks = 0


class Exchange:
    """One request in a gateway; `index` is its row among the clients' requests."""

    __slots__ = (
        "attempts", "current", "deadline", "done", "free", "fresh", "hedge", "index", "post", "started",
        "tried", "try_", "waits",
    )  # fmt: skip

    def __init__(self, index: int, post: bool, now: float, deadline: float, try_: int) -> None:
        self.index, self.post, self.try_ = index, post, try_
        self.started, self.deadline = now, deadline
        self.attempts = self.free = 0
        self.tried: tuple[int, ...] = ()
        self.current: Attempt | None = None
        self.hedge: Attempt | None = None
        self.done = self.waits = False
        self.fresh = False  # after a kept connection had been closed, only new ones are used
