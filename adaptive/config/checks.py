"""What no single value shows: references, and values that contradict one another.

The checks read plain data, in the short or the long forms, as it stands before validation, and pass over whatever is
malformed. So they find their mistakes beside those of validation, and all are told at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from adaptive.config.address import is_loopback, long_form, overlap, read_host, write_address
from adaptive.config.document import Fault, Path
from adaptive.config.suggest import suggestion


def faults(data: Any) -> Iterator[Fault]:
    """Every such mistake in a configuration."""
    if isinstance(data, dict):
        yield from _sockets(data)
        yield from _token(data)
        yield from _service(data)
        yield from _endpoints(data)
        yield from _targets(data)
        yield from _repeated(data, _name, "the name of {}: names must differ")
        yield from _repeated(data, _conditions, "the same conditions as {}, so this route would never be taken")


def _address(value: Any) -> tuple[str, int] | None:
    """Host and port of anything that has an address, or None where they cannot be read."""
    value = long_form(value)
    if not isinstance(value, dict):
        return None
    host, port = value.get("host"), value.get("port")
    try:
        return (read_host(host), port) if isinstance(port, int) else None
    except ValueError:
        return None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _admin(data: dict[str, Any]) -> dict[str, Any] | None:
    admin = long_form(data.get("admin"), required=False)
    return {"host": "127.0.0.1", "port": 9901, **admin} if isinstance(admin, dict) else None


def _sockets(data: dict[str, Any]) -> Iterator[Fault]:
    listen = data.get("listen")
    entries: list[tuple[Path, Any]] = [(("listen", i), item) for i, item in enumerate(_listed(listen))]
    if not isinstance(listen, (list, tuple)):
        entries = [(("listen", 0), listen)]
    entries.append((("admin",), _admin(data)))
    bound: list[tuple[str, int]] = []
    for path, value in entries:
        if (address := _address(value)) is None:
            continue
        clash = next((other for other in bound if overlap(address, other)), None)
        if clash is not None:
            yield Fault(path, f"{write_address(*address)} is taken by {write_address(*clash)} above")
        bound.append(address)


def _token(data: dict[str, Any]) -> Iterator[Fault]:
    admin = _admin(data)
    if admin is None or (address := _address(admin)) is None or is_loopback(address[0]):
        return
    if admin.get("token") is None and admin.get("token_file") is None:
        yield Fault(("admin",), f"{address[0]} can be reached from elsewhere: a token (or token_file) is required")


def _service(data: dict[str, Any]) -> Iterator[Fault]:
    envoy = data.get("envoy")
    service = long_form(envoy.get("service")) if isinstance(envoy, dict) else None
    if not isinstance(service, dict) or (address := _address(service)) is None or is_loopback(address[0]):
        return
    if service.get("tls") is None:
        yield Fault(("envoy", "service"), f"{address[0]} can be reached from elsewhere: tls is required")


def _endpoints(data: dict[str, Any]) -> Iterator[Fault]:
    clusters = data.get("clusters")
    for name, cluster in clusters.items() if isinstance(clusters, dict) else ():
        seen: dict[tuple[str, int], int] = {}
        for index, item in enumerate(_listed(cluster.get("endpoints")) if isinstance(cluster, dict) else ()):
            address = _address(item)
            if address is not None and seen.setdefault(address, index) != index:
                yield Fault(
                    ("clusters", name, "endpoints", index),
                    f"{write_address(*address)} is in this cluster already: endpoints[{seen[address]}]",
                )


def _targets(data: dict[str, Any]) -> Iterator[Fault]:
    clusters = data.get("clusters")
    if not isinstance(clusters, dict):
        return
    for index, route in enumerate(_listed(data.get("routes"))):
        if not isinstance(route, dict):
            continue
        experiment = route.get("experiment")
        other = experiment.get("cluster") if isinstance(experiment, dict) else None
        for path, name in ((("cluster",), route.get("cluster")), (("experiment", "cluster"), other)):
            if isinstance(name, str) and name not in clusters:
                yield Fault(("routes", index, *path), f"no cluster {name!r}{suggestion(name, clusters)}")
        if other is not None and other == route.get("cluster"):
            yield Fault(("routes", index, "experiment", "cluster"), f"{other!r} is the route's own cluster")


def default_name(index: int) -> str:
    """The name of a route without one: "route-<n>", counted from 1."""
    return f"route-{index + 1}"


def _name(route: dict[str, Any], index: int) -> Hashable:
    name = route.get("name")
    return default_name(index) if name is None else name


def _conditions(route: dict[str, Any], _index: int) -> Hashable:
    """What a route matches, comparable; None where it cannot be compared."""
    way = next((way for way in ("path", "prefix", "regex") if route.get(way) is not None), "prefix")
    methods = route.get("methods") or ()
    methods = [methods] if isinstance(methods, str) else methods
    host, headers = route.get("host"), route.get("headers") or {}
    try:
        conditions = {
            json.dumps([name.lower(), {"exact": value} if isinstance(value, str) else _given(value)], sort_keys=True)
            for name, value in headers.items()
        }
        return (
            host and host.lower(),
            way,
            route.get(way, "/"),
            frozenset(method.upper() for method in methods),
            frozenset(conditions),
        )
    except (AttributeError, TypeError, ValueError):
        return None


def _given(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def _repeated(data: dict[str, Any], key: Callable[[dict[str, Any], int], Hashable], message: str) -> Iterator[Fault]:
    """Routes that share with an earlier one what must differ."""
    seen: dict[Hashable, int] = {}
    for index, route in enumerate(_listed(data.get("routes"))):
        if not isinstance(route, dict):
            continue
        found = key(route, index)
        try:
            first = seen.setdefault(found, index)
        except TypeError:
            continue
        if found is not None and first != index:
            yield Fault(("routes", index), message.format(f"routes[{first}]"))
