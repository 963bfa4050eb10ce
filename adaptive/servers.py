"""How many requests an endpoint serves at a time, and how fast: what its departures say of the queue inside it.

An endpoint of c servers with n requests in it answers at the rate min(n, c) / s, where s is the mean service. So the
time that it spent with n in flight and the answers that came in that time are all there is to know: for each c the most
likely s is the sum of min(n, c) × time over the answers, and c is the one under which what was seen is most likely (a
Poisson process whose rate depends on n; maximum likelihood). Nothing needs to know what the endpoint is. Requests of
other gateways in it make it look as slow and as narrow as it is for us.

One endpoint shows c within a factor of two in a few seconds, and such noise steers as a true difference would. So each
borrows from its peers: the c that is likeliest for all of them alike holds for each that does not clearly show another,
unless they differ by more than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

MOST = 48  # attempts in flight that are told apart
# Seconds of memory. With 10 the estimate outlived the fault it was made in: at nine tenths of the load, endpoints that
# had recovered were spared for seconds and those that had not were filled. With 1.5 it is too noisy to pay.
HALF_LIFE = 3.0
ENOUGH = 30.0  # answers, faded, from which on something is said
# Answers from which on the service is told for the servers known before: one number needs fewer than two, and an
# endpoint that has become so slow that it never gives ENOUGH would be taken for as fast as it was. 30 % off at most
# in two cases of three.
FEW = 10.0
# Nats by which a bound on the servers must explain what was seen better than no bound at all: chance alone gives 2 in
# one case of fifty.
CLEAR = 2.0
# Standard deviations beyond chance at which endpoints are taken to differ: few, for to take unlike ones for alike hides
# the difference (with 2 the mean latency of a fleet of which half has half of the servers is 1 % higher).
ALIKE = 0.5
# Endpoints within this factor of the median's service may be alike; where they are fewer than this part, none are.
NEAR, MOST_OF = 1.5, 0.6
# Mean gaps between two answers beyond which silence is a pause of the whole endpoint, and says nothing of its servers:
# at e**-8 by chance.
PAUSE = 8.0

_LOGS = [0.0, *(log(c) for c in range(1, MOST + 1))]
_NEVER = -float("inf")
_NOTHING = [0.0] * (MOST + 1)


class Servers:
    """The departures of one endpoint. `note` with the attempts in flight until now, at each change of them."""

    __slots__ = ("answers", "at", "count", "faded_at", "likely", "service", "spent")

    def __init__(self) -> None:
        self.spent = [0.0] * (MOST + 1)  # seconds with so many in flight
        self.answers = [0.0] * (MOST + 1)  # and the answers in them
        self.at = 0.0  # of the last change
        self.faded_at: float | None = None
        self.count = 0.0  # servers; 0: not known. Where no bound was seen, the most that were in flight at a time.
        self.service = 0.0  # mean seconds of one request alone
        self.likely: list[float] = _NOTHING  # nats by which each number of servers is likelier than no bound at all

    def note(self, in_flight: int, now: float, answered: bool) -> None:
        """The number in flight changes now; `answered`: by a good answer."""
        n = in_flight if in_flight < MOST else MOST
        passed = now - self.at
        self.at = now
        if passed > 0.0 and n:
            count = self.count
            most = PAUSE * self.service / (count if 0.0 < count < n else n)  # what queues makes no gap shorter
            self.spent[n] += most if 0.0 < most < passed else passed
        if answered:
            self.answers[n] += 1.0

    def learn(self, now: float, common: int = 0) -> None:
        """Works `count` and `service` out anew, and lets the past fade. Where it is not CLEARly another number of
        servers, it is the `common` one; 0: there is none.
        """
        if self.faded_at is None:
            self.faded_at = now
        kept = exp(-(now - self.faded_at) * log(2.0) / HALF_LIFE)
        self.faded_at = now
        most = MOST  # that were ever in flight: most endpoints never see a quarter of what there is room for
        while most and not (self.spent[most] or self.answers[most]):
            most -= 1
        spent = [x * kept for x in self.spent[: most + 1]]
        answers = [x * kept for x in self.answers[: most + 1]]
        self.spent[: most + 1], self.answers[: most + 1] = spent, answers
        total = sum(answers)
        if total < ENOUGH:
            self.likely = _NOTHING
            if total >= FEW and self.count:
                c = self.count
                self.service = sum(min(n, c) * x for n, x in enumerate(spent)) / total
            return
        seen = most
        while answers[seen] < 0.5:  # ENOUGH in all, so that one of them is more
            seen -= 1
        # Sums over the states below a bound, and over those above it, which count as if they were at the bound.
        below = said = 0.0
        above, left = sum(spent), total
        best, count, service = _NEVER, 0, 0.0
        unbounded = 0.0
        found, works = [_NEVER], [0.0]
        for c in range(1, seen + 1):
            above -= spent[c - 1]
            work = below + c * above
            likelihood = said + left * _LOGS[c] - total * log(work) if work > 0.0 else _NEVER
            if likelihood > best:
                best, count, service = likelihood, c, work / total
            unbounded = likelihood
            found.append(likelihood)
            works.append(work)
            below += c * spent[c]
            said += answers[c] * _LOGS[c]
            left -= answers[c]
        if unbounded == _NEVER:  # all in one moment
            return
        self.likely = [x - unbounded for x in found] + [0.0] * (MOST - seen)
        if common and best - unbounded - self.likely[common] < CLEAR:
            count, service = common, works[min(common, seen)] / total
        elif best - unbounded < CLEAR:
            count = seen
            service = sum(n * x for n, x in enumerate(spent)) / total
        self.count, self.service = float(count), service


def commonest(many: Sequence[Servers]) -> int:
    """The number of servers that is likeliest for all of them alike; 0 where it is not CLEARly bounded, or where they
    differ: in speed, so that fewer than most are within NEAR times the median's, or in their number.

    In their number they differ where each by itself explains what was seen by more nats than chance gives: half a one
    each on average, with a variance as large (the likelihood ratio test of many numbers against one), beyond it by
    ALIKE deviations. One that CLEARly shows another counts no more than that: it is the exception.
    """
    if not many:
        return 0
    service = sorted([servers.service for servers in many])[len(many) // 2]
    near = [servers for servers in many if service <= NEAR * servers.service and servers.service <= NEAR * service]
    if MOST_OF * len(many) > len(near):
        return 0
    likely = [sum(column) for column in zip(*[servers.likely for servers in near], strict=True)]
    best = max(likely)
    common = likely.index(best)
    chance = 0.5 * len(near)
    apart = sum([min(max(servers.likely) - servers.likely[common], CLEAR) for servers in near])
    return 0 if best < CLEAR or apart > chance + ALIKE * sqrt(chance) else common
