"""Scenarios made real: a fleet of HTTP instances, an open-loop load, and a gateway between them.

- `fleet`: one process, one port an instance, with the scenario's slots, service times and faults.
- `load`: the scenario's requests, sent when they are due; the same requests with the same work for every gateway.
- `live`: both around one gateway; what the clients saw, as the simulator's `Run` has it.
- `contest`: several gateways in one scenario at once; `peers`: nginx, HAProxy and Envoy, each against failures.
- `lateness`: what the machine added.
- `scenarios/`: scenarios as data.
"""
