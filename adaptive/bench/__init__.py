"""Measures Adaptive on this machine: what it costs, how good it is, and whether it stays as it is.

- `command`: the verbs of `adaptive bench`.
- `cpu`: CPU time per request, beside Envoy and nginx; `peers` starts those. `acks`: how soon Envoy has a decision.
- `brain`: CPU time per outcome of a real brain, and its ticks over many endpoints.
- `soak`: load, faults and reloads for as long as wanted; `flat` judges what was sampled on the way.
- `arena`: failures and latency under faults, beside nginx, HAProxy and Envoy; `arena_command` is its verb, `standing`
  says who did best.
- `fidelity`: simulation against life; `foretold`: predictions from a recording against what then came; `likeness`: how
  like two accounts of the same traffic are.
- `causalsim`: the public benchmark of counterfactual replay.
- `prediction`: how well the shipped model foresees failures; `checkout`: of which commit what is trained here comes.
- `acting`: whether acting on predictions spoils them.
- `simulator`: simulated requests a second of one core, beside SimPy.
- `origin`: an instance behind the gateway, as a process of its own, with faults on demand.
- `load`: clients, closed loop and open loop.
- `running`: starts and stops processes; `processes`: reads what they use from /proc.
"""
