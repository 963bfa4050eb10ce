"""Evaluation of policies from a recorded trace: a fitted fleet, estimators and their intervals.

From the trace to the fleet: attempts → spans, hangs (what was not service) → queueing, services (slots, service
times) → pooling → fit; survival has distributions with lower bounds, segments the stretches in which something stays
the same.
From the fleet to the answer: gateway (its rules), logged, recorded (the self-check) → support (refusals) → figures →
evaluate → document. Beside it: chances, target, estimators, overlap, beside; naive (what must fail);
intervals; factors.
Of two policies that ran side by side: differences (the estimator) → experiment.
"""
