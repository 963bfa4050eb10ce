"""Evaluation of policies from a recorded trace: a fitted fleet, estimators and their intervals.

From the trace to the fleet: attempts → spans (what was not service) → queueing, services (slots, service times) →
pooling → fit. From the fleet to the answer: logged, recorded (the self-check) → support (refusals) → figures → evaluate
→ document. Beside it: target, estimators, overlap, beside; naive (what must fail); intervals, differences; factors.
"""
