"""YAML as data with lines: which plain words are what, and where everything stands."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive.config.document import read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", "True"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2026-11-22", "2026-11-22"),
        ("10", 10),
        ("-5", -5),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("9" * 30, "9" * 30),
        ('"10"', "10"),
        ("'true'", "true"),
        ("!!str 10", "10"),
        ("null", None),
        ("~", None),
        ("", None),
        ("|\n  x\n", "x\n"),
    ],
)
def test_a_plain_word_is_what_it_looks_like(text: str, value: Any) -> None:
    found = read_document(f"a: {text}")
    assert not found.faults
    assert found.data == {"a": value} and type(found.data["a"]) is type(value)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read_document("{404: a, true: b, '': c}").data == {"404": "a", "true": "b", "": "c"}


def test_every_key_and_item_has_its_line() -> None:
    lines = read_document("a: 1\nb:\n  - x\n  - c: 2\n\n    d: {e: 3,\n f: 4}\n").lines
    assert lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "c"): 4,
        ("b", 1, "d"): 6,
        ("b", 1, "d", "e"): 6,
        ("b", 1, "d", "f"): 7,
    }


def test_the_first_of_two_equal_keys_is_kept_and_the_second_told() -> None:
    found = read_document("a: 1\nb: 2\na: 3\n")
    assert found.data == {"a": 1, "b": 2}
    assert [(fault.path, fault.line, fault.message) for fault in found.faults] == [
        (("a",), 3, "duplicate key, first on line 1")
    ]


def test_an_alias_is_a_copy_with_the_lines_of_its_anchor() -> None:
    found = read_document("a: &x\n  k: [1]\nb: *x\n")
    assert found.data == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert found.data["a"] is not found.data["b"]
    assert (found.lines["b",], found.lines["b", "k", 0]) == (3, 2)


def test_a_merged_mapping_yields_to_the_keys_beside_it_and_to_those_merged_before() -> None:
    found = read_document("x: &x {k: 1, l: 1}\ny: &y {l: 2, m: 2}\nz: {m: 3, <<: [*x, *y]}\n")
    assert found.data["z"] == {"m": 3, "k": 1, "l": 1} and not found.faults


def test_only_mappings_can_be_merged() -> None:
    assert [fault.message for fault in read_document("x: {<<: 5}").faults] == ["only mappings can be merged"]
