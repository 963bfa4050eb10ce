"""State and suspicion → whole weights, in a few steps with hysteresis: calm means exactly the configured weights.

Few steps, because each change makes an Envoy rebuild its schedulers on every worker, and unequal weights take its power
of two choices away: nothing is said while there is nothing to say.
"""

from __future__ import annotations

from adaptive.policy.ladder import Rung
from adaptive.types import FULL_WEIGHT, Health

# Parts of the full weight. A lowered endpoint keeps enough to show how it does where the data plane knows only weights;
# a canary's is the probe floor of 2 %; an ejected one's is the least there is.
LOWERED, DOUBTED, CANARY = 0.5, 0.25, 0.02
DOUBT_MORE, DOUBT_LESS = 0.8, 0.6  # suspicion or probability at which a lowered endpoint goes between its two steps
# A return in three steps, each of RETURN_STEP seconds: long enough for the windows of 1 s to show that it goes well.
RETURN_PARTS, RETURN_STEP = (0.25, 0.5, 0.75), 1.0


def full(configured: float) -> int:
    """The weight of a healthy endpoint."""
    return max(1, round(FULL_WEIGHT * configured))


def weigh(rung: Rung, configured: float, doubt: float, before: int, at: float, needed: bool = False) -> int:
    """The weight from now on. `doubt` is the larger of suspicion and probability, `before` the weight until now;
    `needed`: the rest is overloaded without it, so that a return takes no steps.
    """
    whole = full(configured)
    part = 1.0
    match rung.health:
        case Health.HEALTHY:
            step = int((at - rung.returned) / RETURN_STEP) if at - rung.returned < 60.0 else len(RETURN_PARTS)
            if 0 <= step < len(RETURN_PARTS) and not needed:
                part = RETURN_PARTS[step]
        case Health.DEGRADED:
            low = max(1, round(whole * DOUBTED))
            part = DOUBTED if doubt >= DOUBT_MORE or (before == low and doubt >= DOUBT_LESS) else LOWERED
        case Health.CANARY:
            part = CANARY
        case _:
            return 1
    return max(1, round(whole * part))


def by_hand(health: Health, configured: float) -> int:
    """The weight of an endpoint whose health an operator set: at once, without steps."""
    part = {Health.HEALTHY: 1.0, Health.DEGRADED: LOWERED, Health.CANARY: CANARY}.get(health, 0.0)
    return max(1, round(full(configured) * part))
