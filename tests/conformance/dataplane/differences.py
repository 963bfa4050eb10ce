"""Where Envoy differs from the embedded data plane by nature: the tests that show it, and why."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """What differs, for the README; and the tests that fail of it, by the beginnings of their names."""

    embedded: str
    envoy: str
    tests: tuple[str, ...]


_HEAD = "test_an_ambiguous_head_is_refused_and_never_reaches_the_origin"
_BODY = "test_a_malformed_chunked_body_is_refused_and_never_completes"
_LATER = "test_a_body_that_turns_malformed_later_is_cut_off"
_RUBBISH = "test_an_endpoint_that_speaks_no_http_is_502"


def _each(test: str, *cases: str) -> tuple[str, ...]:
    return tuple(f"{test}[{case}]" for case in cases)


TABLE: tuple[Difference, ...] = (
    Difference(
        "a head that two readers could read in two ways is refused: 400",
        "its own parser forgives some: lines ended or begun by a bare LF or CR, folded lines, further spaces in the "
        "request line, versions other than 1.0 and 1.1, Transfer-Encoding in 1.0; a Host twice, empty or malformed "
        "finds no route (404); an unknown expectation is passed on",
        (
            *_each(
                _HEAD,
                "coding_in_http_1_0",
                "folded",
                "folded_by_a_tab",
                "bare_lf",
                "bare_lf_in_one_line",
                "bare_lf_at_the_end",
                "bare_cr",
                "bare_cr_before_the_end",
                "two_hosts",
                "two_differing_hosts",
                "host_empty",
                "host_with_userinfo",
                "host_with_a_bad_port",
                "host_with_brackets",
                "target_with_userinfo",
                "two_spaces",
                "two_spaces_before_the_version",
                "tab_in_the_request_line",
                "space_after_the_version",
                "version_1_2",
                "version_2_0",
                "version_0_9",
                "connect",
                "expect_unknown",
            ),
            "test_a_bare_lf_before_a_request_is_not",
            "test_a_refusal_is_a_problem_document_with_an_id",
        ),
    ),
    Difference(
        "a chunked body that is malformed is refused or cut off",
        "its own parser forgives what ends a chunk's data, a NUL in an extension, and fields in trailers",
        tuple(
            name
            for test in (_BODY, _LATER)
            for name in _each(
                test,
                "size_too_small",
                "size_too_large",
                "data_ended_by_lf",
                "extension_with_nul",
                "trailer_with_a_length",
                "trailer_with_a_coding",
                "trailer_folded",
                "trailer_ended_by_lf",
            )
        ),
    ),
    Difference(
        "a malformed response is 502",
        "its own parser forgives versions, statuses of four digits, bare LF, folded lines, and a 101 unasked for",
        (
            *_each(_RUBBISH, "status_of_four_digits", "another_version", "bare_lf", "folded", "unasked_upgrade"),
            "test_a_body_that_ends_with_a_reset_is_not_taken_for_whole",
        ),
    ),
    Difference(
        "the reason phrase of an endpoint's response is passed on",
        "it writes its own, as HTTP/2 has none",
        ("test_methods_pass", "test_a_status_without_a_body_has_none"),
    ),
    Difference(
        "fields that a trailer may not hold, and fields that a response's Connection names, end at the gateway",
        "trailers pass as they are; of responses only the well-known fields of one hop are taken away",
        ("test_a_chunked_body_passes_up_with_its_trailers", "test_fields_of_one_hop_are_not_passed_down"),
    ),
    Difference(
        "every 1xx is passed on, and none to a client of HTTP/1.0",
        "of several early hints the first is passed on; clients of HTTP/1.0 are sent them too",
        ("test_early_hints_are_passed_on", "test_interim_responses_are_kept_from_http_1_0_clients"),
    ),
    Difference(
        "Connection cannot take away what the message needs",
        "a Connection that names Host or Transfer-Encoding is 400; one that names Authorization takes it away",
        _each(
            "test_connection_cannot_take_away_what_the_message_needs",
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Authorization",
            "X-Forwarded-For",
        ),
    ),
    Difference(
        "X-Forwarded-For names every peer by its address",
        "a peer on the loopback interface is named by the machine's own address",
        ("test_forwarded_fields_are_written_anew_for_strangers", "test_trust_is_of_the_peer_and_not_of_its_bytes"),
    ),
    Difference(
        "a malformed traceparent is dropped, and tracestate with it",
        "both are passed on as they are: nothing reads them",
        ("test_a_malformed_trace_is_not_continued", "test_two_traces_are_none"),
    ),
    Difference(
        "the bound of a body is kept while it passes through: 413 from its declared length on",
        "where there is a bound, a body is held back until it is whole or too large; a target without end is 431",
        (
            "test_a_body_that_says_it_is_too_large_is_413_at_once",
            "test_a_body_too_large_with_expect_is_refused_before_it_is_sent",
            "test_endless_chunk_framing_is_refused",
            "test_a_target_without_end_is_414",
        ),
    ),
    Difference(
        "any protocol may be upgraded to",
        "WebSocket only; another is 403",
        (
            "test_a_tunnel_carries_what_was_sent_early_and_ends_with_either_side",
            "test_a_tunnel_ends_at_the_origin_when_the_client_leaves",
            "test_a_tunnel_whose_both_sides_have_left_is_closed",
            "test_a_tunnel_has_back_pressure_too",
            "test_an_upgrade_that_is_refused_leaves_an_ordinary_connection",
            "test_an_upgrade_that_is_ignored_is_an_ordinary_response",
            "test_requests_behind_an_upgrade_do_not_slip_into_it",
        ),
    ),
    Difference(
        "a retry budget counts retries over its window",
        "it counts retries at once: requests one after the other may each be tried again",
        ("test_retries_stop_when_their_budget_is_spent",),
    ),
    Difference(
        "a request for which every endpoint's connections are all in use is refused at once: 503",
        "it waits for one until its time-out, beside as many others as `requests` allows",
        ("test_beyond_the_connections_of_every_endpoint_a_request_is_refused_at_once",),
    ),
    Difference(
        "the target of OPTIONS * and one without a path are written as RFC 9112 asks",
        "an absolute target without a path, and the asterisk, find no route",
        (
            "test_an_absolute_target_without_a_path_means_the_root",
            "test_options_of_the_whole_server_goes_on_as_an_asterisk",
        ),
    ),
)

# What no request by itself shows: what the brain decides for the fast loop, and what of it Envoy can be told.
DECISIONS: tuple[Difference, ...] = (
    Difference(
        "an endpoint has a limit of attempts in flight of its own, which follows how many it serves at a time",
        "its limits of one endpoint are of connections, and the same for all of a cluster: this one is not told",
        (),
    ),
    Difference(
        "what exceeds a cluster's capacity waits for its turn, by the route's priority, or is refused early",
        "`limits.requests` bounds what is in flight, and what exceeds it is refused; `overload` is an error at `check`",
        (),
    ),
    Difference(
        "a slow request gets a second copy after a delay that is the endpoint's own, within `hedging.ratio`",
        "after five typical latencies of its cluster, again and again up to `retries`, within `retry_budget`",
        (),
    ),
    Difference(
        "every pick looks at failures, silence and capacity as they are at that moment",
        "it picks the less busy of two by itself; what the brain sees reaches it as states and weights, up to four "
        "times a second",
        (),
    ),
)

# The same heads once more, behind others and byte by byte, and the sockets of refused clients: that Envoy's parser
# reads a stream, and that its connections end, is Envoy's own to test.
NOT_RUN = (
    "test_it_is_refused_behind_a_good_request_too",
    "test_it_is_refused_byte_by_byte_too",
    "test_refusals_leave_no_connection_behind",
    "test_an_ambiguous_head_is_refused_and_never_reaches_the_origin[envoy-http_2_preface]",
)


def of(name: str) -> str:
    """Why a test with this name fails on Envoy; empty where it passes."""
    plain = name.replace("[envoy]", "").replace("[envoy-", "[")
    for row in TABLE:
        if any(plain == test or ("[" not in test and plain.partition("[")[0] == test) for test in row.tests):
            return row.envoy
    return ""


def table() -> str:
    """The differences as the README shows them."""
    every = (*TABLE, *DECISIONS)
    rows = ["| embedded | Envoy |", "|---|---|", *(f"| {row.embedded} | {row.envoy} |" for row in every)]
    return "\n".join(rows) + "\n"
