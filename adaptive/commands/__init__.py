"""The commands, one module a subject; `adaptive.cli` puts them together.

- The gateway: `gateway` (serve, check, status, explain, ...), `envoy`.
- Replay: `importing`, `evaluate`, `replay`, `simulate`, `scenarios`, `sweep`, `swarm`, `report`, `events`.
- Models: `train`, `models`; `pods` is what both do with a day of calls between pods, `learning` what `train` does with
  recordings and with a Prometheus server.
- What they share: `arguments`, `progress`, `reporting`.
"""
