"""Measures the gateway on this machine: what it costs, and whether it stays as it is.

- `command`: the verbs `adaptive bench cpu|brain|soak|arena`.
- `cpu`: CPU time per request, beside Envoy and nginx; `peers` starts those.
- `brain`: CPU time per outcome of a real brain, and its ticks over many endpoints.
- `soak`: load, faults and reloads for as long as wanted; `flat` judges what was sampled on the way.
- `arena`: failures and latency under faults, beside nginx.
- `origin`: an instance behind the gateway, as a process of its own, with faults on demand.
- `load`: clients, closed loop and open loop.
- `running`: starts and stops processes; `processes`: reads what they use from /proc.
"""
