"""How good are the decisions? Traces, scenarios, a simulator, baselines, estimators, and the reports comparing them.

Traces: `trace` is a recording as columns, `tracing` reads, checks and writes it, `importers` make one of other systems'
logs, `parity` tells an event log again to a fresh Controller, `player` sends recorded requests again.

Scenarios: `scenario` as data, `scenario_file` as JSON or YAML (`reading` takes its values), `library` has the standard
ones by name, made in `standard` on a `stage` with `troubles`; `arena_like` those of the arena's kind; `arrivals` are
the requests, `shapes` the rise and fall of real traffic.

Policies: `policies` has all by name, `baselines` those that Adaptive is compared with.

Runs: `simulator` runs one; `comparison` several policies, as a report; `sweep` all of them everywhere; `swarm` draws
`worlds` from seeds and judges them by `invariants`, with a witness from `watching`.

Judgement: `evaluation` says from a recording what another policy would have done; `report` writes every report;
`causalsim` is the public benchmark.

Learning: `asking` puts questions to a Controller that looks on, and gets their answers. On simulated fleets `episodes`
are what a model learns from, `teaching` trains on them, `foretelling` says how good predictions were, and `oracle` how
good they could be. From what was recorded `recalling` makes such questions, from counters read at intervals `counting`;
`learning` trains on them.
"""
