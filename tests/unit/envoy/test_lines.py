"""Lines that Envoy writes of attempts are read as entries, and as columns."""

from __future__ import annotations

import pytest

from adaptive.envoy.entry import FLAGS, Entry
from adaptive.envoy.lines import LONGEST, NOTHING_SAID, Lines, Table, meaning, read, table
from adaptive.envoy.translate.logs import FIELDS, SEPARATOR, WITHIN
from adaptive.types import Cause

GOOD = {
    "endpoint": "all|127.0.0.1:2",
    "kind": "GET 200 - UpstreamEnd r",
    "numbers": "1795724428062869 3771 3833 3 7 200 5",
    "request": "q",
    "said": WITHIN.join(("-", "TEXT cpu_utilization=0.5", "-")),
}


def line(**changed: str) -> str:
    return SEPARATOR.join((GOOD | changed).values())


def test_a_line_has_the_fields_that_envoy_is_told_to_write() -> None:
    assert len(GOOD) == len(FIELDS)
    assert tuple(GOOD) == Table._fields


def test_a_line_is_an_entry() -> None:
    assert read(line()) == Entry(
        endpoint="all|127.0.0.1:2",
        route="r",
        request="q",
        method="GET",
        under_way=False,
        began=pytest.approx(1795724428.062869, abs=1e-6),
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
    entry = read(line(numbers="1795724428062869 - - 600 7 0 -", kind="GET 0 UT UpstreamEnd r"))
    assert (entry.first, entry.lasted, entry.status) == (0.0, 0.6, 0)
    assert (entry.flagged, entry.cause) == (True, Cause.TIMEOUT_ATTEMPT)


@pytest.mark.parametrize("kind", ["UpstreamPoolReady", "UpstreamPeriodic"])
def test_an_attempt_under_way_has_not_ended(kind: str) -> None:
    assert read(line(kind=f"GET 200 - {kind} r")).under_way


def test_the_first_flag_that_counts_is_its_meaning() -> None:
    assert [meaning(short) for short, _ in FLAGS] == [cause for _, cause in FLAGS]
    assert meaning("LR,UC") is Cause.RESET
    assert meaning("NR") is None


NOT_NUMBERS = [line(numbers=numbers) for numbers in ("- 3 3 3 3 3 3", "1 2", "1.5 3 3 3 3 3 3")]


@pytest.mark.parametrize("broken", ["", "rest\tof\ta\tline", line(kind="GET 2x - UpstreamEnd r"), *NOT_NUMBERS])
def test_a_broken_line_is_an_error(broken: str) -> None:
    with pytest.raises(ValueError):
        read(broken)


@pytest.mark.parametrize("load", ["a\tb\tc", "\t" + NOTHING_SAID + "\t", "\t"])
def test_an_endpoint_that_writes_separators_moves_no_field_but_its_own(load: str) -> None:
    forged = read(line(said=WITHIN.join(("-", load, "-"))))
    assert forged._replace(load="", said="") == read(line())._replace(load="", said="")


def test_a_client_that_writes_separators_spoils_its_own_request_and_no_number() -> None:
    forged = read(line(request="a\tb"))
    assert forged.request == "a"
    assert forged._replace(request="q", reason="-") == read(line())


def test_lines_are_cut_wherever_reads_end() -> None:
    whole = f"{line(request='a')}\n{line(request='b')}\n".encode()
    for at in range(len(whole) + 1):
        lines = Lines()
        found = (lines.cut(whole[:at]) + lines.cut(whole[at:])).splitlines()
        assert [read(one).request for one in found] == ["a", "b"]


def test_lines_are_a_table() -> None:
    found = table(f"{line(request='a')}\n{line(request='b')}\n")
    assert found is not None
    assert found.request == ["a", "b"]
    assert found.said == [GOOD["said"]] * 2


@pytest.mark.parametrize(
    "text",
    [
        "rest of a line\n" + line() + "\n",
        line(said="a\tb") + "\n",
        line() + "\n" + line(said="a\tb") + "\n" + line().partition("\t")[2] + "\n",  # one more, and one fewer
    ],
)
def test_lines_with_other_fields_are_none(text: str) -> None:
    assert table(text) is None


def test_what_never_ends_is_dropped() -> None:
    lines = Lines()
    assert lines.cut(b"x" * (LONGEST + 1)) == ""
    assert lines.cut(line().encode() + b"\n") == line() + "\n"
