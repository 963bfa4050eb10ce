"""Lines that Envoy writes of attempts are read as the entries that its messages are."""

from __future__ import annotations

import pytest

from adaptive.envoy.entry import FLAGS, Entry
from adaptive.envoy.lines import LONGEST, Lines, meaning, read
from adaptive.envoy.translate.logs import FIELDS, SEPARATOR
from adaptive.types import Cause

GOOD = {
    "endpoint": "all|127.0.0.1:2",
    "began": "1795724428.062869",
    "first": "3771",
    "lasted": "3833",
    "rounded": "3",
    "method": "GET",
    "status": "200",
    "flags": "-",
    "route": "r",
    "sent": "7",
    "received": "200",
    "waited": "5",
    "kind": "UpstreamEnd",
    "request": "q",
    "reason": "-",
    "load": "TEXT cpu_utilization=0.5",
    "said": "-",
}


def line(**changed: str) -> str:
    return SEPARATOR.join((GOOD | changed).values())


def test_a_line_has_the_fields_that_envoy_is_told_to_write() -> None:
    assert len(GOOD) == len(FIELDS)


def test_a_line_is_an_entry() -> None:
    assert read(line()) == Entry(
        endpoint="all|127.0.0.1:2",
        cluster="",
        route="r",
        request="q",
        method="GET",
        under_way=False,
        began=1795724428.062869,
        lasted=pytest.approx(0.003833),
        first=pytest.approx(0.003771),
        waited=pytest.approx(0.005),
        status=200,
        flagged=False,
        cause=None,
        reason="-",
        sent=7,
        received=200,
        load="TEXT cpu_utilization=0.5",
        said="",
    )


def test_of_an_attempt_without_an_answer_milliseconds_are_known() -> None:
    entry = read(line(first="-", lasted="-", rounded="600", status="0", flags="UT"))
    assert (entry.first, entry.lasted, entry.status) == (0.0, 0.6, 0)
    assert (entry.flagged, entry.cause) == (True, Cause.TIMEOUT_ATTEMPT)


@pytest.mark.parametrize("kind", ["UpstreamPoolReady", "UpstreamPeriodic"])
def test_an_attempt_under_way_has_not_ended(kind: str) -> None:
    assert read(line(kind=kind)).under_way


def test_the_first_flag_that_counts_is_its_meaning() -> None:
    assert [meaning(short) for _, short, _ in FLAGS] == [cause for _, _, cause in FLAGS]
    assert meaning("LR,UC") is Cause.RESET
    assert meaning("NR") is None


@pytest.mark.parametrize("broken", ["", "rest\tof\ta\tline", line(status="2x"), line(began="-")])
def test_a_broken_line_is_an_error(broken: str) -> None:
    with pytest.raises(ValueError):
        read(broken)


def test_an_endpoint_that_writes_separators_moves_no_field_but_its_own() -> None:
    forged = read(line(load="a\tb\tc"))
    assert forged._replace(load="", said="") == read(line())._replace(load="", said="")


def test_lines_are_cut_wherever_reads_end() -> None:
    whole = f"{line(request='a')}\n{line(request='b')}\n".encode()
    for at in range(len(whole) + 1):
        lines = Lines()
        found = [*lines.cut(whole[:at]), *lines.cut(whole[at:])]
        assert [read(one).request for one in found] == ["a", "b"]


def test_what_never_ends_is_dropped() -> None:
    lines = Lines()
    assert lines.cut(b"x" * (LONGEST + 1)) == []
    assert lines.cut(line().encode() + b"\n") == [line()]
