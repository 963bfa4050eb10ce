"""The gateway.

Outcomes flow up from the data plane to the control plane, snapshots flow down, and nothing else crosses:

- `types`, `clock`: the nouns, and the one file that reads a clock.
- `config`, `classify`, `ewma`: the validated configuration; what an attempt's end means; time-decayed averages.
- `telemetry`: shared memory between the processes, the recorder and the metrics.
- `stats`, `policy`, `controller`: the slow loop, once a tick, in the brain: windows, probabilities, health and weights.
- `balancer`: the fast loop, once a request, in each worker.
- `gateway`, `admin`, `envoy`: the shells: the embedded data plane, the operator's API, Envoy as a data plane.
- `app`, `cli`: where concrete classes meet, and the commands.

A module imports from its own row of this list and from those above it; `tests/test_house.py` keeps that.
"""
