"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the nearest known word, or nothing where none is near."""
    near = get_close_matches(word.lower(), list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
