"""Lists and ranges among the arguments of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer

N = TypeVar("N", int, float)
# Of standard scenarios, seconds: what they are made for is far below, and beyond a run would never end.
LONGEST = 7 * 86400.0
SLOWEST = 60.0  # mean service time


def names(text: str) -> list[str]:
    """Names with commas between; a setting of a policy (`least_request@random=0.01`) belongs to its name."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str, kind: Callable[[str], N], option: str, least: N, most: N) -> list[N]:
    """Numbers with commas between. Raises BadParameter."""
    found = []
    for part in names(text):
        try:
            value = kind(part)
        except ValueError:
            value = most + most
        if not least <= value <= most:
            raise typer.BadParameter(f"{part!r} is no number from {least:g} to {most:g}", param_hint=option)
        found.append(value)
    if not found:
        raise typer.BadParameter("nothing is named", param_hint=option)
    return found


def seeds(text: str, option: str = "--seeds") -> list[int]:
    """`N`: seeds from 0, so many; `A:B`: from A up to, not with, B. Raises BadParameter."""
    first, colon, last = text.rpartition(":")
    first = first or "0"
    if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)) or (colon and text[0] == ":"):
        raise typer.BadParameter(f"{text!r} is neither a number of seeds nor A:B with A below B", param_hint=option)
    return list(range(int(first), int(last)))


def policies(text: str, option: str = "--policy") -> list[str]:
    """Names of policies that exist, each once; none: all. Raises BadParameter."""
    from replay.policies import POLICIES, named

    found = list(dict.fromkeys(names(text))) or list(POLICIES)
    for name in found:
        try:
            named(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=option) from None
    return found
