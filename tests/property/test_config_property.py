"""Any text gives a Config or ConfigErrors, and any Config survives its own JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive.config.errors import ConfigErrors
from adaptive.config.load import parse
from adaptive.config.model import Config
from adaptive.config.topology import config_hash

KEYS = """
listen admin clusters routes server limits timeouts recorder model endpoints address host port tls cert key
cluster prefix path regex methods headers set add remove token weight policy <<""".split()  # noqa: SIM905
VALUES = """api 127.0.0.1:80 [::1]:80 0.0.0.0:1 2s 5 0 -1 true no null ~ / /a a( ${A} ${ 64KiB * & ! | > { } [ ] , : - #
--- ... 1.5 "x" 'y' é *a &a""".split()  # noqa: SIM905
WORDS = st.sampled_from([*KEYS, *VALUES, "\x00", "\t"])
SCALARS = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=5),
    max_leaves=20,
)
LINES = st.lists(
    st.tuples(st.integers(0, 6), st.lists(WORDS, max_size=5), st.sampled_from([" ", ": ", ", ", ""])), max_size=12
).map(lambda lines: "\n".join(" " * indent + mark.join(words) for indent, words, mark in lines))
SMALL = {"listen": "127.0.0.1:1", "clusters": {"api": {"endpoints": ["a:1"]}}, "routes": [{"cluster": "api"}]}


def outcome(text: str) -> Config | ConfigErrors:
    try:
        return parse(text, "g.yaml", {"A": "a"})
    except ConfigErrors as errors:
        assert errors.errors
        assert all("\n" not in str(error) for error in errors.errors)
        assert [error.line for error in errors.errors] == sorted(error.line for error in errors.errors)
        return errors


@given(st.text() | LINES)
@settings(max_examples=300)
def test_any_text_gives_a_configuration_or_its_errors(text: str) -> None:
    assert isinstance(outcome(text), (Config, ConfigErrors))


@given(
    st.dictionaries(
        st.sampled_from(["listen", "clusters", "routes", "admin", "server", "recorder", "model", "x"]), TREES
    )
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_in_the_place_of_any_part_gives_a_configuration_or_its_errors(parts: dict[str, Any]) -> None:
    import yaml

    text = yaml.safe_dump({**SMALL, **parts}, allow_unicode=True)
    assert isinstance(outcome(text), (Config, ConfigErrors))


durations = st.floats(0.001, 1000).map(lambda seconds: f"{seconds:.6f}s")
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)
endpoints = st.builds(
    lambda host, port, weight, zone: {"host": host, "port": port, "weight": weight, "zone": zone},
    st.sampled_from(["10.0.0.1", "::1", "api.example"]),
    st.integers(1, 65535),
    st.floats(0.01, 1000),
    st.text(max_size=4),
)
clusters = st.builds(
    lambda members, policy, connect, errors: {
        "endpoints": members,
        "policy": policy,
        "timeouts": {"connect": connect},
        "objective": {"errors": errors},
    },
    st.lists(endpoints, min_size=1, max_size=4, unique_by=lambda e: (e["host"], e["port"])),
    st.sampled_from(["adaptive", "random", "peak_ewma"]),
    durations,
    st.floats(0.001, 1),
)
configs = st.builds(
    lambda groups, paths, timeout, header: {
        "listen": ["127.0.0.1:0", {"address": "[::1]:1"}],
        "clusters": groups,
        "routes": [
            {"path": f"/{path}", "cluster": next(iter(groups)), "timeout": timeout, "response_headers": {"set": header}}
            for path in paths
        ],
        "server": {"trusted": ["10.0.0.0/8", "fd00::/8"]},
    },
    st.dictionaries(names, clusters, min_size=1, max_size=3),
    st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
    durations,
    st.dictionaries(st.sampled_from(["x-a", "X-Token"]), values, max_size=2),
)


@given(configs)
def test_a_configuration_survives_its_own_json(data: dict[str, Any]) -> None:
    config = Config.model_validate(data)
    again = Config.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.model_dump_json() == config.model_dump_json()
    assert list(again.clusters) == list(config.clusters)
    assert config_hash(again) == config_hash(config)
