"""Expressions of operators under RE2."""

from __future__ import annotations

import pytest

from adaptive.config.pattern import compile_pattern, pattern_sets


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?=a)", r"(a)\1", "[a-z]{1000}" * 100])
def test_what_re2_does_not_run_in_bounded_time_and_memory_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^RE2 refuses "):
        compile_pattern(pattern)


def test_expressions_too_many_for_one_automaton_are_spread_over_several() -> None:
    patterns = [f"/{n}/[a-z]{{40}}" for n in range(1000)]
    sets = pattern_sets(patterns)
    assert 1 < len(sets) < 20
    assert [pattern for _, group in sets for pattern in group] == patterns
    for number in (0, 500, 999):
        text = f"/{number}/" + "x" * 40
        assert [group[i] for match, group in sets for i in match(text)] == [patterns[number]]


def test_an_expression_that_fills_an_automaton_alone_still_matches() -> None:
    sets = pattern_sets(["/a", "[a-z]{1000}" * 20, "/b"])
    assert len(sets) > 1
    assert [group[i] for match, group in sets for i in match("x" * 20_000)] == ["[a-z]{1000}" * 20]
    assert [group[i] for match, group in sets for i in match("/b")] == ["/b"]
