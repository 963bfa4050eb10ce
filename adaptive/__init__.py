"""The gateway.

Outcomes flow up from the data plane to the control plane, snapshots flow down, and nothing else crosses:

- `types`, `model_events`, `clock`, `version`: the nouns, events and commands; the one file that reads a clock.
- `config`, `classify`, `ewma`, `announcement`: the validated configuration; what an attempt's end means; time-decayed
  averages; what an instance says of its own leave.
- `telemetry`: shared memory between the processes, the recorder and the metrics.
- `stats`, `policy`, `controller`: the slow loop, once a tick, in the brain: windows, probabilities, health and weights.
- The fast loop, once a request, in each worker. `balancer` is its interface, `lanes` what all balancers share, `picks`
  the classical ones. `fast` is ours: gates, then load; `grading` keeps its scores, `servers` learns what an endpoint
  bears, `silence` says what an endpoint that does not answer is thought of, `exploring` draws random picks. Around it,
  `admission` says who enters an overloaded cluster, and `budget` how much may be sent twice.
- `gateway`, `admin`, `envoy`: the shells: the embedded data plane, the operator's API, Envoy as a data plane; `station`
  and `steered` stand where workers would, between the brain and the Envoys.
- `app`, `cli`, `commands`, `failure`: where concrete classes meet; the commands, and what they could not do.
- `demo`, `bench`, `arena`, `player`: the demo, measurements, scenarios made real, recorded requests sent again.

A module imports from its own row of the table in `tests/test_house.py` and from the rows below it.
"""
