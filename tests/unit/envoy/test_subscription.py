"""One Envoy's stream, in both protocols: what it is owed, what it took, what it refused."""

from __future__ import annotations

import pytest

from adaptive.envoy.cache import Cache, Held, digest, url
from adaptive.envoy.subscription import Request, Stream
from adaptive.envoy.translate.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES


def held(text: str) -> Held:
    return Held(digest(text.encode()), text.encode(), text.encode())


def filled() -> Cache:
    cache = Cache()
    for kind, names in ((CLUSTER, "ab"), (ENDPOINTS, "ab"), (LISTENER, "l"), (ROUTES, "r")):
        cache.put(kind, {name: held(f"{kind} {name}") for name in names}, whole=True)
    return cache


def ask(stream: Stream, kind: str, *names: str, nonce: str = "", error: str | None = None, **more: object) -> object:
    return stream.take(Request(url(kind), nonce, error, names, **more))  # type: ignore[arg-type]


def settle(stream: Stream, cache: Cache) -> list[str]:
    """Acknowledges everything until nothing is due; the types in the order in which they were sent."""
    sent = []
    for _ in range(20):
        due = stream.due(cache)
        if not due:
            return sent
        for response in due:
            sent.append(response.kind)
            names = () if stream.delta else tuple(stream.types[response.kind].names)
            ask(stream, response.kind, *names, nonce=response.nonce)
    raise AssertionError("never calm")


def subscribed(delta: bool) -> Stream:
    stream = Stream(delta)
    for kind, names in ((CLUSTER, ()), (ENDPOINTS, ("a", "b")), (LISTENER, ()), (ROUTES, ("r",))):
        ask(stream, kind, *names)
    return stream


@pytest.mark.parametrize("delta", [False, True], ids=["plain", "delta"])
def test_clusters_and_endpoints_come_before_listeners_and_routes(delta: bool) -> None:
    assert settle(subscribed(delta), filled()) == [CLUSTER, ENDPOINTS, LISTENER, ROUTES]


@pytest.mark.parametrize("delta", [False, True], ids=["plain", "delta"])
def test_what_did_not_change_is_not_sent_again(delta: bool) -> None:
    cache, stream = filled(), subscribed(delta)
    settle(stream, cache)
    assert cache.put(CLUSTER, {name: held(f"{CLUSTER} {name}") for name in "ab"}, whole=True) == []
    assert stream.due(cache) == []


def test_of_many_only_the_changed_one_goes_out_in_delta() -> None:
    cache, stream = filled(), subscribed(delta=True)
    settle(stream, cache)
    cache.put(ENDPOINTS, {"b": held("new")}, whole=False)
    (response,) = stream.due(cache)
    assert (response.kind, response.names) == (ENDPOINTS, ("b",))


def test_one_response_of_a_type_is_under_way_and_changes_meanwhile_go_out_together() -> None:
    cache, stream = filled(), subscribed(delta=True)
    settle(stream, cache)
    cache.put(ENDPOINTS, {"a": held("1")}, whole=False)
    (first,) = stream.due(cache)
    for text in ("2", "3"):
        cache.put(ENDPOINTS, {"a": held(text), "b": held(text)}, whole=False)
        assert stream.due(cache) == []
    ask(stream, ENDPOINTS, nonce=first.nonce)
    (second,) = stream.due(cache)
    assert set(second.names) == {"a", "b"}
    ask(stream, ENDPOINTS, nonce=second.nonce)
    assert stream.due(cache) == []


@pytest.mark.parametrize("delta", [False, True], ids=["plain", "delta"])
def test_what_is_refused_is_not_sent_again_before_it_changes(delta: bool) -> None:
    cache, stream = filled(), subscribed(delta)
    settle(stream, cache)
    cache.put(ROUTES, {"r": held("bad")}, whole=True)
    (response,) = stream.due(cache)
    names = () if delta else ("r",)
    answer = ask(stream, ROUTES, *names, nonce=response.nonce, error="no such field")
    assert answer is not None
    assert (answer.error, answer.names) == ("no such field", ("r",))
    assert stream.due(cache) == []
    assert not stream.behind(cache), "it has what it can have"
    cache.put(ROUTES, {"r": held("good")}, whole=True)
    (again,) = stream.due(cache)
    assert again.names == ("r",)


def test_routes_wait_while_their_clusters_are_refused() -> None:
    cache, stream = filled(), subscribed(delta=True)
    settle(stream, cache)
    cache.put(CLUSTER, {name: held(f"bad {name}") for name in "ab"}, whole=True)
    cache.put(ROUTES, {"r": held("to the new clusters")}, whole=True)
    (response,) = stream.due(cache)
    ask(stream, CLUSTER, nonce=response.nonce, error="bad")
    assert stream.due(cache) == []


def test_a_late_answer_in_the_plain_protocol_changes_nothing() -> None:
    cache, stream = filled(), subscribed(delta=False)
    settle(stream, cache)
    assert ask(stream, ENDPOINTS, "a", nonce="1") is None
    assert stream.types[ENDPOINTS].names == {"a", "b"}


def test_an_envoy_that_comes_back_is_sent_only_what_it_lacks() -> None:
    """The service was replaced; versions are made of contents, so it knows what the Envoy has."""
    cache = filled()
    stream = Stream(delta=True)
    kept = cache.held[CLUSTER]["a"].version
    ask(stream, CLUSTER, has=(("a", kept), ("b", "another"), ("gone", "x")))
    (response,) = stream.due(cache)
    assert (response.names, response.removed) == (("b",), ("gone",))


def test_a_cluster_that_left_stays_until_the_routes_are_taken() -> None:
    cache, stream = filled(), subscribed(delta=True)
    settle(stream, cache)
    cache.put(CLUSTER, {"a": cache.held[CLUSTER]["a"]}, whole=True)
    cache.put(ROUTES, {"r": held("to a alone")}, whole=True)
    (response,) = stream.due(cache)
    assert response.kind == ROUTES
    assert not stream.calm
    ask(stream, ROUTES, nonce=response.nonce)
    assert stream.calm
    assert not stream.behind(cache)
    cache.drop()
    (response,) = stream.due(cache)
    assert (response.kind, response.removed) == (CLUSTER, ("b",))


def test_a_type_that_we_do_not_have_is_passed_over() -> None:
    stream = Stream(delta=True)
    assert stream.take(Request(url("envoy.extensions.transport_sockets.tls.v3.Secret"), "", None, ("x",))) is None
    assert stream.due(filled()) == []
