"""What the silence of a lane says of it before any answer comes: a stall, or a doubt for what cannot be sent twice."""

from __future__ import annotations

from adaptive.lanes import Lane

# A lane with two attempts in flight or more is stalled after this many seconds, or typical latencies over the number
# in flight, without a completion, whichever is longer: e**-7, one false alarm in a thousand gaps.
STALL_FLOOR, STALL_GAPS = 0.05, 7.0
# While no latency is known, only a second without any answer is a stall.
STALL_UNKNOWN = 1.0
# Doubt, for requests that cannot be sent twice: the ages of all attempts sent after the newest one that came back, in
# typical latencies. Exponentially distributed with mean 1 at a lane that works, growing without end at one that hangs.
# Each quarter counts as half an attempt in flight, up to two, and above 3 (1 in 20) it is a gate. That halves the
# requests lost to a hang; calm traffic does not notice, because some other lane is always as good. Of a lane with more
# in flight than it serves at a time it is the time since its last answer, in mean gaps between two: what queues cannot
# come back, however well the lane works.
DOUBT_GRAIN, DOUBT_LOAD, DOUBT_MOST, DOUBT_GATE = 4.0, 0.5, 2.0, 3.0
# The other gate of doubt: the oldest attempt is older than this many typical latencies and than the cluster's p99.
OLDEST_GATE = 3.0
# A time-out within this many times what the requests in front explain is the queue's, and no failure of the endpoint.
QUEUED = 3.0


def stalled(lane: Lane, now: float, oldest: float, typical: float, woke: float) -> bool:
    """Whether a lane with several attempts in flight, the oldest sent at `oldest`, has been silent for too long.

    `typical`: the cluster's latency, 0 while it is not known; `woke`: when we last awoke ourselves.
    """
    since = oldest if oldest > lane.answered else lane.answered
    silent = now - (since if since > woke else woke)
    if not typical:
        return silent > STALL_UNKNOWN
    return silent > STALL_FLOOR and silent > STALL_GAPS * typical / lane.in_flight


def doubt(
    lane: Lane, now: float, oldest: float, typical: float, tail: float, width: float, service: float, woke: float
) -> float | None:
    """Attempts in flight that its silence counts for; None: it is a gate.

    `tail`: the cluster's p99 latency; `width`, `service`: requests that the lane serves at a time, and the mean seconds
    of one alone in this cluster, 0 where not known; the others as in `stalled`.
    """
    if now < oldest:  # graded without a time, when a snapshot or a configuration came; the next pick grades anew
        return 0.0
    age = now - (oldest if oldest > woke else woke)
    queued = 0.0  # seconds in which what is in flight is served
    if 0.0 < width < lane.in_flight and service:
        queued = lane.in_flight * service / width
        found = (now - max(lane.answered, oldest, woke)) * width / service
    else:
        frontier, waited = lane.frontier, 0.0
        for sent_at in reversed(lane.outstanding.values()):
            if sent_at <= frontier:
                break
            waited += now - (sent_at if sent_at > woke else woke)
        found = waited / typical
    if found > DOUBT_GATE or (age > OLDEST_GATE * typical and age > tail and age > QUEUED * queued):
        return None
    load = int(found * DOUBT_GRAIN) * DOUBT_LOAD
    return load if load < DOUBT_MOST else DOUBT_MOST
