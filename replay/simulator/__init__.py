"""The simulator: gateways in front of a fleet, in virtual time.

- `simulation`: `simulate(scenario, policy, seed)`; the heap, the clients, who is who.
- `gateway`: a worker and what it does with a request (`exchange`, `patience`); `paths`: the network between it and the
  instances.
- `instance`: a queue before slots; `service`: service times; `faults`: what is wrong with an instance, and when;
  `recent`: what its last answers took; `truths`: how every instance really is.
- `brain`: the Controller above a gateway, its ticks, its health checks.
- `run`: what came of it.
- `compiled`, `kernel`: the same for simple policies in front of plain fleets, compiled; bit for bit.

Balancers and Controllers are those that run live; only time, the network and the instances are made up here.
"""
