"""All resources of a configuration by type and name, and the files that they are made of."""

from __future__ import annotations

from adaptive.config.model import Config
from adaptive.envoy.translate import routes
from adaptive.envoy.translate.clusters import cluster
from adaptive.envoy.translate.listeners import listeners
from adaptive.envoy.translate.words import Json, Texts

LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
# In the order in which Envoy warms them: a route must find its cluster, a cluster its endpoints.
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)


def files(config: Config) -> list[str]:
    """The files whose contents become part of the resources."""
    found: dict[str, None] = {}
    for listener in config.listen:
        for held in listener.tls.certificates if listener.tls is not None else ():
            found[held.cert] = found[held.key] = None
    for own in config.clusters.values():
        if own.tls is not None:
            for path in (own.tls.ca, own.tls.cert, own.tls.key):
                if path is not None:
                    found[path] = None
    return list(found)


def resources(
    config: Config, texts: Texts, attempt_timeouts: dict[str, float] | None = None, pipe: str = ""
) -> dict[str, dict[str, Json]]:
    """Listeners, routes and clusters, as {type: {name: message}}. `texts` holds the contents of `files`; `pipe` is
    where attempts are told of as lines ("": over gRPC).
    """
    return {
        LISTENER: listeners(config, texts, pipe),
        ROUTES: {routes.NAME: routes.configuration(config, attempt_timeouts)},
        CLUSTER: {name: cluster(config, name, texts) for name in config.clusters},
    }
