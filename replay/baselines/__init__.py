"""The policies that Adaptive is compared with, each from its source, behind the Balancer interface.

What they share is in `base` (with least request over all lanes), `outliers` (Envoy's outlier detection) and `edf`
(weighted turns by deadlines). Proxies: `nginx`, `haproxy`, `envoy`, `linkerd`, `grpc`, `latency` (parapet). Papers and
reports: `c3`, `prequal`, `pid` (Robinhood). References: `weighted`, whose weights an operator sets once by the
capacities; `gates`, which learns nothing; `clairvoyant`, which knows all. `fleet` is what a policy may ask of simulated
instances. They are registered by name in `replay.policies`.
"""
