"""What a trace cannot say of a policy: it would send requests where, when or in numbers that were never seen."""

from __future__ import annotations

import numpy as np

from replay.evaluation.attempts import Floats
from replay.evaluation.fit import Fit
from replay.evaluation.queueing import together
from replay.simulator.run import Column

WINDOW = 5.0  # seconds; what an instance was like is not known longer than that without an attempt
FEW = 3  # attempts tell of such a window
UNSEEN = 0.02  # share of a policy's requests that may go where nothing is known
# Most attempts at once in an instance, times the most that the trace shows: a queue before a known number of slots
# may be followed further than one of which no end was seen.
FURTHER, BLIND = 4.0, 1.5
SLACK = 5  # attempts


def refusals(fit: Fit, sent: Floats, done: Floats, slot: Column) -> list[str]:
    """Why a policy cannot be judged from this trace; columns (n,): its simulated attempts, `slot` the instance."""
    return [*_unseen(fit, sent, slot), *_loads(fit, sent, done, slot)]


def _unseen(fit: Fit, sent: Floats, slot: Column) -> list[str]:
    windows = int(fit.seen.seconds / WINDOW) + 1
    blind, worst = 0, (0, "", 0.0, 0)
    for i, one in enumerate(fit.seen.instances):
        known = np.bincount((one.sent / WINDOW).astype(int), minlength=windows)[:windows]
        at = np.clip((sent[slot == i] / WINDOW).astype(int), 0, windows - 1)
        asked = np.bincount(at, minlength=windows)
        hidden = np.where(known < FEW, asked, 0)
        blind += int(hidden.sum())
        k = int(np.argmax(hidden))
        worst = max(worst, (int(hidden[k]), one.name, k * WINDOW, int(known[k])))
    share = blind / max(1, len(sent))
    if share <= UNSEEN:
        return []
    return [
        f"{share:.1%} of its attempts would go to instances of which the trace knows nothing at that time; at most "
        f"{worst[1]}, which would get {worst[0]} from second {worst[2]:.0f} to {worst[2] + WINDOW:.0f} and got "
        f"{worst[3]}: record with a share of random picks"
    ]


def _loads(fit: Fit, sent: Floats, done: Floats, slot: Column) -> list[str]:
    found = []
    for i, node in enumerate(fit.nodes):
        mine = slot == i
        if not mine.any():
            continue
        inside = together(np.sort(sent[mine]), done[mine])
        usual = float(np.quantile(inside, 0.99))
        bounded = node.served is not None and node.served.slots.bounded
        most = (FURTHER if bounded else BLIND) * node.inside + SLACK
        if usual > most:
            found.append(
                f"{node.name} would have up to {usual:.0f} attempts at once; the trace shows at most {node.inside}"
                + ("" if bounded else ", and never one that had to wait, so that its slots are not known")
            )
    return found
