"""What every Envoy is to have: resources by type and name, each with a version made of its contents.

Versions by content mean that a service that was replaced sends nothing anew to an Envoy that has it all. A cluster that
left the configuration is kept until no Envoy's routes can name it any more (`retire`, `drop`). Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from adaptive.envoy.translate.resources import CLUSTER, ENDPOINTS, TYPES
from adaptive.envoy.translate.words import PREFIX


class Held(NamedTuple):
    """A resource: its version, and itself as serialised messages of both protocols that hold nothing else.

    Concatenated messages are one message with the fields of all, so a response is put together from these bytes.
    """

    version: str
    delta: bytes  # DeltaDiscoveryResponse(resources=[it])
    plain: bytes  # DiscoveryResponse(resources=[it])


class Cache:
    """The resources of all types. `number` grows with every change of a type."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Held]] = {kind: {} for kind in TYPES}
        self.number: dict[str, int] = dict.fromkeys(TYPES, 0)
        self.retired: dict[str, set[str]] = {kind: set() for kind in TYPES}

    def put(self, kind: str, found: Mapping[str, Held], whole: bool) -> list[str]:
        """Take resources of a type; `whole`: they are all there are. The names that changed."""
        held = self.held[kind]
        changed = [name for name, new in found.items() if name not in held or held[name].version != new.version]
        held.update({name: found[name] for name in changed})
        self.retired[kind] -= found.keys()
        if whole:
            gone = held.keys() - found.keys() - self.retired[kind]
            if kind in (CLUSTER, ENDPOINTS):
                self.retired[kind] |= gone
            else:
                for name in gone:
                    del held[name]
                changed += gone
        if changed:
            self.number[kind] += 1
        return changed

    @property
    def retiring(self) -> bool:
        """Whether something waits to be dropped."""
        return any(self.retired.values())

    def drop(self) -> None:
        """Let go of what is retired."""
        for kind, names in self.retired.items():
            for name in names:
                self.held[kind].pop(name, None)
            if names:
                self.number[kind] += 1
            names.clear()

    def version(self, kind: str, names: Iterable[str]) -> str:
        """One version for several resources together."""
        held = self.held[kind]
        text = ",".join(f"{name}={held[name].version}" for name in sorted(names) if name in held)
        return digest(text.encode())


def digest(data: bytes) -> str:
    """A version: 16 hex digits of what it is the version of."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def url(kind: str) -> str:
    """A type's URL, by which xDS names it."""
    return PREFIX + kind


def kind_of(type_url: str) -> str | None:
    """The type of a URL; None where we have none such."""
    kind = type_url.removeprefix(PREFIX)
    return kind if kind in TYPES else None
