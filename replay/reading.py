"""Reader, which takes values out of parsed JSON and keeps what is wrong with them, each with its place.

Places are written as in the language of the document: `instances[3].faults[0].factor`. A value that is wrong is
replaced by its default, so that one pass finds every mistake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adaptive.config.suggest import suggestion

SHOWN = 60  # characters of a wrong value that a message shows


def place_of(place: str, key: str) -> str:
    """The place of a key within a place."""
    return f"{place}{key}" if key.startswith("[") else f"{place}.{key}" if place and key else place or key


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


class Reader:
    """Reads one document. `faults` are the messages, in the order in which the mistakes were met."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.faults: list[str] = []
        self.wrong_places: list[str] = []

    def wrong(self, place: str, message: str) -> None:
        """Keeps a mistake."""
        self.wrong_places.append(place)
        self.faults.append(f"{self.where}: {place}: {message}" if place else f"{self.where}: {message}")

    def wrong_in(self, place: str) -> bool:
        """Whether anything was wrong at or below a place."""
        return any(p == place or p.startswith((place + ".", place + "[")) for p in self.wrong_places)

    def mapping(self, value: Any, place: str, known: Sequence[str]) -> Mapping[str, Any]:
        """An object with these keys; what it has besides is kept as a mistake."""
        if not isinstance(value, Mapping):
            self.wrong(place, f"an object is wanted, not {shown(value)}")
            return {}
        for key in value:
            if key not in known:
                hint = suggestion(str(key), known) or f"; known are {', '.join(known)}"
                self.wrong(place_of(place, str(key)), f"there is no such key{hint}")
        return {key: item for key, item in value.items() if key in known}

    def either(self, values: Mapping[str, Any], place: str, first: str, second: str) -> str:
        """Which of two keys that mean the same is there."""
        if first in values and second in values:
            self.wrong(place_of(place, second), f"{first} says this already")
        return second if second in values and first not in values else first

    def text(
        self, values: Mapping[str, Any], place: str, key: str, default: str, empty: bool = False, needed: bool = False
    ) -> str:
        """A string."""
        if key not in values:
            if needed:
                self.wrong(place_of(place, key), "is missing")
            return default
        value = values[key]
        if not isinstance(value, str) or not (value or empty):
            self.wrong(place_of(place, key), f"{shown(value)} is not a text")
            return default
        return value

    def choice(self, values: Mapping[str, Any], place: str, key: str, default: str | None, known: Sequence[str]) -> str:
        """One of some words; "" where it is not."""
        if key not in values and default is not None:
            return default
        value = values.get(key)
        if isinstance(value, str) and value in known:
            return value
        hint = suggestion(value, known) if isinstance(value, str) else ""
        said = f"{shown(value)} is not one of {', '.join(known)}{hint}" if key in values else "is missing"
        self.wrong(place_of(place, key), said)
        return default or ""

    def number(
        self,
        values: Mapping[str, Any],
        place: str,
        key: str,
        default: float | None,
        *,
        least: float = -math.inf,
        most: float = math.inf,
        above: float = -math.inf,
        flag: bool = False,
    ) -> float:
        """A finite number within bounds; `default` None: it must be there. `flag`: true and false will do."""
        where = place_of(place, key)
        if key not in values:
            if default is None:
                self.wrong(where, "is missing")
            return default or 0.0
        value = values[key]
        if isinstance(value, bool) and flag:
            return float(value)
        usable = default if default is not None else max(least, 1.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.wrong(where, f"{shown(value)} is not a number")
            return usable
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            self.wrong(where, f"{shown(value)} is not a finite number")
        elif found < least or found > most or found <= above:
            low = f"above {above:g}" if above > -math.inf else f"at least {least:g}" if least > -math.inf else ""
            high = f"at most {most:g}" if most < math.inf else ""
            self.wrong(where, f"{shown(value)} is not {' and '.join(part for part in (low, high) if part)}")
        else:
            return found
        return usable

    def whole(
        self, values: Mapping[str, Any], place: str, key: str, default: int, *, least: int, most: float = 2**63
    ) -> int:
        """A whole number within bounds; 6.0 is one."""
        value = values.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value  # as it is: seeds may be too large for a float
        found = self.number(values, place, key, float(default), least=least, most=most)
        if found != int(found):
            self.wrong(place_of(place, key), f"{shown(value)} is not a whole number")
            return default
        return int(found)

    def items(self, values: Mapping[str, Any], place: str, key: str) -> Sequence[Any]:
        """A list; empty where the key is missing."""
        value = values.get(key, [])
        if not isinstance(value, (list, tuple)):
            self.wrong(place_of(place, key), f"a list is wanted, not {shown(value)}")
            return []
        return value

    def numbers(
        self, values: Mapping[str, Any], place: str, key: str, *, least: float = -math.inf, above: float = -math.inf
    ) -> tuple[float, ...]:
        """A list of numbers."""
        inner = place_of(place, key)
        items = self.items(values, place, key)
        return tuple(
            self.number({f"[{i}]": x}, inner, f"[{i}]", None, least=least, above=above) for i, x in enumerate(items)
        )

    def flags(self, values: Mapping[str, Any], place: str, key: str) -> tuple[bool, ...]:
        """A list of true and false."""
        found = []
        for i, item in enumerate(self.items(values, place, key)):
            if not isinstance(item, bool):
                self.wrong(f"{place_of(place, key)}[{i}]", f"{shown(item)} is not true or false")
            found.append(bool(item))
        return tuple(found)

    def steps(
        self,
        values: Mapping[str, Any],
        place: str,
        key: str,
        default: tuple[tuple[float, float], ...],
        *,
        least: float = -math.inf,
        above: float = -math.inf,
    ) -> tuple[tuple[float, float], ...]:
        """A list of (from second, value), which begins at 0 and ascends."""
        inner = place_of(place, key)
        if key not in values:
            return default
        made: list[tuple[float, float]] = []
        for i, item in enumerate(self.items(values, place, key)):
            at = f"{inner}[{i}]"
            if not isinstance(item, (list, tuple)) or len(item) != 2:
                self.wrong(at, f"{shown(item)} is not (from second, value)")
                continue
            start = self.number({"[0]": item[0]}, at, "[0]", None, least=0.0)
            value = self.number({"[1]": item[1]}, at, "[1]", None, least=least, above=above)
            if made and start <= made[-1][0]:
                self.wrong(f"{at}[0]", f"{start:g} is not after the step before it, at {made[-1][0]:g}")
            made.append((start, value))
        if not made or made[0][0] != 0.0:
            if not self.wrong_in(inner):
                self.wrong(inner, "the first step must be from second 0")
            return default
        return tuple(made)
