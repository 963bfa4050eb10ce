"""The table of what differs between the data planes is one that a README can show."""

from __future__ import annotations

from tests.conformance.dataplane import differences


def test_each_row_says_what_both_do_and_names_its_tests() -> None:
    lines = differences.table().splitlines()
    assert len(lines) == 2 + len(differences.TABLE) + len(differences.DECISIONS)
    assert all(line.count("|") == 3 for line in lines)
    assert all(row.embedded and row.envoy and row.tests for row in differences.TABLE)


def test_a_test_that_differs_is_found_by_its_name() -> None:
    assert differences.of("test_methods_pass[envoy-GET]")
    assert differences.of("test_two_traces_are_none[envoy]")
    assert not differences.of("test_curl_gets_and_posts[envoy]")
