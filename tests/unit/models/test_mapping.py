"""The mappings that ship can be read, and ask for what they must."""

from __future__ import annotations

import pytest

from models.mapping import MappingError, mapping, parse, ready


def test_three_ship() -> None:
    assert ready() == ["adaptive", "envoy", "istio"]


@pytest.mark.parametrize("name", ready())
def test_one_that_ships_names_attempts_failures_and_labels(name: str) -> None:
    found = mapping(name)
    assert found.cluster and found.endpoint
    assert found.selectors["attempts"] and found.selectors["errors"]
    assert bool(found.buckets) == (name != "envoy")


def test_milliseconds_are_told_from_seconds() -> None:
    assert mapping("istio").unit == 0.001 and mapping("adaptive").unit == 1.0


def test_a_selector_may_be_one_text_or_several() -> None:
    text = "labels: {cluster: c, endpoint: e}\nattempts: [x, 'y{a=\"b\"}']\nerrors: z\n"
    assert parse(text, "m.yaml").selectors == {
        "attempts": ("x", 'y{a="b"}'), "errors": ("z",), "refused": (), "timeouts": (), "in_flight": (), "load": (),
    }  # fmt: skip


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    with pytest.raises(MappingError, match="no mapping 'linkerd'; known are adaptive, envoy, istio, and files"):
        mapping("linkerd")
