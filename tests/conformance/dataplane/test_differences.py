"""The README shows the differences as they stand here."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.dataplane.differences import table


def test_the_readme_shows_the_table_of_differences_as_it_is() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert table() in readme
