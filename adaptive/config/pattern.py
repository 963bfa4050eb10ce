"""Regular expressions of operators: RE2, whose time is linear in the text, so that no path can stall a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

# Bytes that one expression may compile to. RE2's own default is 8 MiB; a route needs kilobytes, and thousands of them
# must fit in each worker.
MEMORY = 1 << 20


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Any:
    """The compiled expression (`re2`'s own type). Raises ValueError with RE2's reason."""
    import re2  # only configurations with an expression pay for it

    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raw = error.args[0] if error.args else "not an expression"
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
        # RE2 repeats the expression at the end of its reason.
        shown, reason = (one if len(one) <= 80 else one[:77] + "..." for one in (pattern, text))
        raise ValueError(f"RE2 refuses {shown!r}: {reason}") from None


def check_pattern(pattern: str) -> str:
    """The pattern itself, when RE2 takes it. Raises ValueError."""
    compile_pattern(pattern)
    return pattern


# Instructions of the expressions that run as one automaton, and the bytes that it may use while it runs. RE2 gives up
# when the memory cannot hold some twenty states of up to four bytes an instruction: here 1.6 MB of 64 MiB, so it never
# does. The memory is taken only as states are met.
SET_INSTRUCTIONS = 20_000
SET_MEMORY = 64 << 20


def pattern_sets(patterns: Sequence[str]) -> list[tuple[Callable[[str], list[int]], list[str]]]:
    """Automata that find in one run which of the patterns match a whole text, in their order.

    Each is a function from a text to the sorted positions in its list of patterns. There are several where the patterns
    are too many for one. Raises ValueError for a pattern that RE2 refuses.
    """
    groups: list[list[str]] = []
    room = 0
    for pattern in patterns:
        cost: int = compile_pattern(pattern).programsize
        if not groups or cost > room:
            groups.append([])
            room = SET_INSTRUCTIONS
        groups[-1].append(pattern)
        room -= cost
    return [(_set_of(group), group) for group in groups]


def _set_of(patterns: list[str]) -> Callable[[str], list[int]]:
    if len(patterns) == 1:
        # A set of one would only add its cost.
        fullmatch = compile_pattern(patterns[0]).fullmatch
        return lambda text: [0] if fullmatch(text) is not None else []
    import re2

    options = re2.Options()
    options.max_mem = SET_MEMORY
    options.log_errors = False
    automaton = re2.Set.FullMatchSet(options)
    for pattern in patterns:
        automaton.Add(pattern)
    automaton.Compile()
    match = automaton.Match
    return lambda text: sorted(match(text) or ())  # None where nothing matches
