"""The model-free policy: how strongly what was seen speaks against each endpoint, in nats and as a suspicion.

Evidence of different kinds is independent enough to add as log-likelihood ratios. Failures are scored by the
generalised likelihood ratio of a Bernoulli share against the share that the objective allows (or the peers show, where
that is more): n · KL(share ‖ allowed), with PRIOR attempts at the allowed share added, so that one failure says little.
It is taken over each window and over the run of failures since the last success, and the strongest counts: these are
the same failures, seen over different spans. The run is what is left to see once the data plane has turned away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.columns import Bools, Floats, Ints, Observed, Peers

PRIOR = 5.0  # attempts; three failures in a row from nothing give 4.6 nats, two 2.6, one 0.9 (at 5 % allowed)
# Nats at which suspicion is one half: with 5 % of failures allowed a healthy endpoint at its limit crosses it by chance
# in one window of some 400; one with 1 % practically never.
DOUBT = 4.0
SOLID = 9.0  # nats of failures for more than lowering: five in a row, or 15 % of 200 where 5 % are allowed
USELESS_SHARE = 0.5  # share that failed at which little is lost with the endpoint
SOLID_SHARE = 0.3  # and the share that failed: an endpoint that does most of its work is lowered, not ejected
# Where the peers fail more than the objective allows, so may this one: three times as much, for in an overload attempts
# time out unevenly, and taking endpoints out of it is the last thing to do. Never more than nine tenths: an endpoint
# that fails all it gets is still seen, if later.
PEERS, ALLOWED_MOST = 3.0, 0.9
# A run of failures counts once the endpoint has had this long to succeed: within it, chance and other workers' rows
# that have not come yet explain it. A success at 100 requests/s comes in 10 ms.
RUN_SECONDS = 0.2
# Latency against the peers' median: nothing below 1.5 times, doubt at 3 times. Uneven machines differ by 1.5 for good,
# and queueing noise over 1 s reaches 2; the fast loop shares load by latency anyway, so that waiting is cheap.
SLOW_FROM, SLOW_DOUBT, SLOW_MOST = 1.5, 3.0, 5.5
_SLOW_RANGE = np.log(SLOW_DOUBT / SLOW_FROM)
SLOW_LEAST_SECONDS = 0.005  # below this difference, the gateway's own loops are what is measured
SLOW_LEAST_COUNT = 10  # measured over 5 s: the mean of ten log-normal times (sigma 0.6) is within 50 %
SLOW_LEAST_LOWERED = 3  # for an endpoint already lowered, which gets a trickle: its return is judged by what there is
# Silence that is a stall: at least two attempts in flight, and none closed for 20 typical latencies and half a second,
# while the peers' close. Beyond 30 s these are streams or tunnels, and say nothing.
STALL_TYPICAL, STALL_LEAST, STALL_MOST, STALL_NATS = 20.0, 0.5, 30.0, 4.5
CHECK_NATS, CHECKS_MOST = 2.1, 3  # two failing checks in a row are doubt, three the most they say
SILENT_CHECKS = 2  # failing checks in a row that suffice where there are no requests


@dataclass(slots=True)
class Judgement:
    """What the rule says of each endpoint; columns (slots,)."""

    suspicion: Floats
    solid: Bools  # enough for more than lowering
    useless: Bools  # serves so little that nothing is lost with it
    failing: Floats  # nats, of failed attempts
    slow: Floats
    stalled: Floats
    unchecked: Floats  # nats, of failing health checks
    share: Floats  # failures of attempts over 5 s, smoothed; the allowed share where there were none
    slowness: Floats  # latency by the peers' median, over 1 s or 5 s, the lesser; NaN where unknown


INNOCENT = float(1 / (1 + np.exp(DOUBT)))  # suspicion of whom nothing speaks against


def evidence(failures: Ints, attempts: Ints, allowed: Floats) -> Floats:
    """Nats by which `failures` of `attempts` speak for a share above `allowed`; 0 where they do not."""
    n = attempts + PRIOR
    share = np.minimum((failures + PRIOR * allowed) / n, 1 - 1e-9)
    nats = n * (share * np.log(share / allowed) + (1 - share) * np.log((1 - share) / (1 - allowed)))
    return np.where(share > allowed, nats, 0.0)


def suspicion(nats: Floats) -> Floats:
    """What so many nats of evidence make of an endpoint, in [0, 1]: one half at DOUBT."""
    if not np.count_nonzero(nats):
        return np.full(nats.shape, INNOCENT)
    return 1 / (1 + np.exp(np.minimum(DOUBT - nats, 50.0)))


def judge(
    seen: Observed,
    peers: Peers,
    errors: Floats,
    latency: Floats,
    requests: Bools,
    checked: Bools,
    lowered: Bools,
) -> Judgement:
    """Scores every endpoint. `errors` and `latency` are the objectives (NaN: none), `requests` marks endpoints whose
    requests may be held against them, `checked` those with active health checks, `lowered` those not in full service.
    """
    share5 = (seen.failures[1] + PRIOR * errors) / (seen.attempts[1] + PRIOR)
    fast = seen.latency[1].copy()
    fast[seen.measured[1] < 3] = np.nan
    # Where nothing fails anywhere, which is nearly always, there is nothing to compare.
    failed = np.count_nonzero(seen.failures[1]) > 0
    if failed:
        tried = np.where(seen.attempts[1] > 0, share5, np.nan)
        burst, others, peers_share = peers.others(np.array([seen.latency[0], fast, tried]))
        allowed = np.clip(np.fmax(errors, PEERS * (peers_share - errors)), 1e-4, ALLOWED_MOST)
    else:
        burst, others = peers.others(np.array([seen.latency[0], fast]))
        allowed = errors
    if failed or np.count_nonzero(seen.failures[2]) or np.count_nonzero(seen.streak):
        failing = _failing(seen, allowed)
    else:
        failing = np.zeros(len(errors))
    slow, slowness = _slow(seen, burst, others, latency, lowered)
    stalled, unchecked = _stalled(seen, peers), _unchecked(seen, peers, share5, allowed)
    failing[~requests] = slow[~requests] = stalled[~requests] = unchecked[~checked] = 0.0
    solid, useless = _solid(seen, share5, failing, unchecked, requests)
    return Judgement(
        suspicion=suspicion(failing + slow + stalled + unchecked),
        solid=solid,
        useless=useless,
        failing=failing,
        slow=slow,
        stalled=stalled,
        unchecked=unchecked,
        share=share5,
        slowness=slowness,
    )


def _solid(seen: Observed, share5: Floats, failing: Floats, unchecked: Floats, requests: Bools) -> tuple[Bools, Bools]:
    """Where the evidence is enough for more than lowering, and where nothing is lost with the endpoint."""
    if not (np.count_nonzero(failing) or np.count_nonzero(unchecked)):
        return np.zeros(len(share5), dtype=bool), np.zeros(len(share5), dtype=bool)
    quiet = (seen.attempts[1] == 0) & (seen.in_flight == 0)
    dead = (quiet | ~requests) & (unchecked > 0) & (seen.checks_failed >= SILENT_CHECKS)
    # A run that its own share of failures explains is no end of its service: of 30 % failures five in a row come often.
    # Nor are time-outs, which one pause gives to all that it meets: they say that it stood still, and are one event.
    own = seen.streak * -np.log(np.clip(share5, 1e-4, 1.0))
    ended = (seen.unlucky > RUN_SECONDS) & (own >= SOLID) & (seen.timeouts[1] * 2 <= seen.streak)
    mostly = (share5 >= SOLID_SHARE) | ended
    solid = dead | (mostly & (failing >= SOLID)) | (mostly & (failing >= DOUBT) & (unchecked >= SILENT_CHECKS))
    return solid, solid & (dead | ended | (share5 >= USELESS_SHARE))


def _failing(seen: Observed, allowed: Floats) -> Floats:
    """Nats of failed attempts: the strongest of 1 s, 5 s, the run, and 30 s where 5 s hold few attempts."""
    found = np.maximum(
        evidence(seen.failures[0], seen.attempts[0], allowed), evidence(seen.failures[1], seen.attempts[1], allowed)
    )
    few = (seen.attempts[1] < 20) & (seen.attempts[1] > 0)
    found = np.where(few, np.maximum(found, evidence(seen.failures[2], seen.attempts[2], allowed)), found)
    run = np.where(seen.unlucky > RUN_SECONDS, seen.streak, 0)
    run = np.where(seen.attempts[2] > 0, run, 0)  # a run of long ago says nothing of now
    return np.maximum(found, evidence(run, run, allowed))


def _slow(seen: Observed, burst: Floats, others: Floats, objective: Floats, lowered: Bools) -> tuple[Floats, Floats]:
    """Nats of latency against the peers' over 1 s (`burst`) and 5 s and against the objective, and the ratio to the
    peers'.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = seen.latency[1] / others
        least = np.fmin(seen.latency[0] / burst, ratio)
        count: int | Ints = SLOW_LEAST_COUNT
        if np.count_nonzero(lowered):
            least = np.where(lowered, ratio, least)
            count = np.where(lowered, SLOW_LEAST_LOWERED, SLOW_LEAST_COUNT)
        if not np.count_nonzero(least > SLOW_FROM):
            return np.zeros(len(least)), least
        nats = DOUBT * np.log(least / SLOW_FROM) / _SLOW_RANGE
    nats[~(nats > 0.0)] = 0.0  # NaN too
    breach = (np.fmin(seen.latency[0], seen.latency[1]) > objective) & (others < objective) & (least > SLOW_FROM)
    nats[breach] = np.maximum(nats[breach], DOUBT + 0.5)
    enough = (seen.measured[1] >= count) & (seen.latency[1] - others > SLOW_LEAST_SECONDS)
    nats[~enough] = 0.0
    return np.minimum(nats, SLOW_MOST), least


def _stalled(seen: Observed, peers: Peers) -> Floats:
    """Nats of silence with attempts in flight, while most of the cluster answers."""
    if not np.count_nonzero(seen.silence > STALL_LEAST):
        return np.zeros(len(seen.silence))
    least = np.maximum(STALL_LEAST, STALL_TYPICAL * seen.typical)
    stalled = (seen.in_flight >= 2) & (seen.silence > least) & (seen.oldest > least) & (seen.oldest < STALL_MOST)
    if not stalled.any():
        return np.zeros(len(stalled))
    alike = _share(stalled, peers) >= 0.5
    return np.where(stalled & ~alike, STALL_NATS, 0.0)


def _unchecked(seen: Observed, peers: Peers, share5: Floats, allowed: Floats) -> Floats:
    """Nats of failing health checks. Where they fail for half the cluster and its requests do not, it is the checks
    (or the network between) that failed.
    """
    failed = seen.checks_failed
    if not np.count_nonzero(failed):
        return np.zeros(len(failed))
    served = (share5 <= allowed) & (seen.attempts[1] > 0) & (seen.streak == 0)
    void = (_share(failed > 0, peers) >= 0.5) & served
    return np.where(void, 0.0, CHECK_NATS * np.minimum(failed, CHECKS_MOST))


def _share(flags: Bools, peers: Peers) -> Floats:
    """Share of each endpoint's cluster whose flag is set."""
    members = peers.members
    counts = np.bincount(peers.cluster[members], weights=flags[members], minlength=peers.clusters)
    share = np.zeros(len(flags))
    share[members] = (counts / np.maximum(peers.sizes, 1))[peers.cluster[members]]
    return share


def describe(seen: Observed, judged: Judgement, slot: int) -> list[str]:
    """The evidence against one endpoint in short phrases, the strongest first."""
    found: list[tuple[float, str]] = []
    attempts, failures = int(seen.attempts[1, slot]), int(seen.failures[1, slot])
    if judged.failing[slot] > 0.5:
        text = f"{failures} of {attempts} attempts failed in 5 s" if failures else "recent attempts failed"
        if seen.connect[1, slot]:
            text += f", {int(seen.connect[1, slot])} without a connection"
        if seen.timeouts[1, slot]:
            text += f", {int(seen.timeouts[1, slot])} timed out"
        if seen.streak[slot] >= 3:
            text += f", the last {int(seen.streak[slot])} in a row"
        found.append((float(judged.failing[slot]), text))
    if judged.slow[slot] > 0.5:
        spent = np.fmax(seen.latency[0, slot], seen.latency[1, slot]) * 1e3
        text = f"latency {spent:.0f} ms, {judged.slowness[slot]:.1f} times its peers'"
        found.append((float(judged.slow[slot]), text))
    if judged.stalled[slot] > 0:
        text = f"{int(seen.in_flight[slot])} in flight, none answered for {seen.silence[slot]:.1f} s"
        found.append((float(judged.stalled[slot]), text))
    if judged.unchecked[slot] > 0:
        found.append((float(judged.unchecked[slot]), f"{int(seen.checks_failed[slot])} health checks failed in a row"))
    return [text for _, text in sorted(found, reverse=True)]
