"""TLS on either side: the right certificate for the name asked for, and no endpoint that cannot prove its name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.conformance.dataplane.gateway import Gateway, config, free_port
from tests.conformance.dataplane.origin import Origin, Visit, answering
from tests.conformance.dataplane.wire import Client, reply, request


class Certificates:
    """An authority, and files of what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)

    def files(self, *names: str) -> dict[str, str]:
        """A certificate for these names, as configuration."""
        made = self.authority.issue_cert(*names)
        chain, key = self.folder / f"{names[0]}.pem", self.folder / f"{names[0]}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        return {"cert": str(chain), "key": str(key)}

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts the authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


CLUSTERS = ("plain", "verified", "named", "unnamed", "unverified", "untrusted", "mutual", "speaks-plain")


@pytest.fixture(scope="module")
def origins(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Origin]]:
    made = {name: Origin() for name in CLUSTERS}
    other = Certificates(tmp_path_factory.mktemp("another-authority"))
    mutual = certificates.server("127.0.0.1")
    mutual.verify_mode = ssl.CERT_REQUIRED
    certificates.authority.configure_trust(mutual)
    ok = answering(reply())
    made["plain"].start(ok)
    made["verified"].start(ok, tls=certificates.server("127.0.0.1"))
    made["named"].start(ok, tls=certificates.server("inner.test"))
    made["unnamed"].start(ok, tls=certificates.server("inner.test"))
    made["unverified"].start(ok, tls=other.server("inner.test"))
    made["untrusted"].start(ok, tls=other.server("127.0.0.1"))
    made["mutual"].start(ok, tls=mutual)
    made["speaks-plain"].start(ok)
    yield made
    for origin in made.values():
        origin.stop()


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, origins: dict[str, Origin], data_plane: str
) -> Iterator[Gateway]:
    ca = {"ca": certificates.ca}
    tls = {
        "plain": False,
        "verified": ca,
        "named": {**ca, "server_name": "inner.test"},
        "unnamed": ca,
        "unverified": {"verify": False},
        "untrusted": ca,
        "mutual": {**ca, **certificates.files("gateway.test")},
        "speaks-plain": ca,
    }
    settings = config(
        free_port(),
        free_port(),
        clusters={name: {"endpoints": [origins[name].address], "tls": tls[name]} for name in CLUSTERS},
        routes=[{"prefix": f"/{name}", "cluster": name, "timeout": "5s"} for name in CLUSTERS],
    )
    # TLS 1.2 or newer on the second listener, with a certificate by name and one for those who name none.
    settings["listen"].append(
        {
            "address": f"127.0.0.1:{free_port()}",
            "tls": {
                "certificates": [
                    certificates.files("default.test"),
                    {**certificates.files("one.test"), "names": ["one.test"]},
                    {**certificates.files("*.two.test"), "names": ["*.two.test"]},
                ]
            },
        }
    )
    gateway = Gateway(tmp_path_factory.mktemp("secured"), settings, data_plane=data_plane)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture
def port(secured: Gateway) -> int:
    return int(secured.settings["listen"][1]["address"].rpartition(":")[2])


@pytest.mark.parametrize(
    ("name", "shown"), [("one.test", "one.test"), ("a.two.test", "*.two.test"), ("default.test", "default.test")]
)
def test_the_certificate_follows_the_name(port: int, certificates: Certificates, name: str, shown: str) -> None:
    with Client(port, tls=certificates.client(), name=name) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert()
        assert certificate is not None
        assert ("DNS", shown) in certificate["subjectAltName"]
        assert client.ask("/plain", name).status == 200
        assert client.ask("/plain", name).status == 200


def test_a_name_that_is_not_ours_gets_the_default(port: int, certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(port, tls=certificates.client(), name="elsewhere.test")


def test_the_endpoint_is_told_that_it_was_https(
    port: int, certificates: Certificates, origins: dict[str, Origin]
) -> None:
    with Client(port, tls=certificates.client(), name="one.test") as client:
        assert client.ask("/plain", "one.test").status == 200
    assert origins["plain"].last.get("x-forwarded-proto") == "https"


def test_old_tls_is_refused(port: int, certificates: Certificates) -> None:
    context = certificates.client()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(port, tls=context, name="one.test")


def test_plain_text_on_the_tls_port_is_turned_away(port: int) -> None:
    with Client(port) as client:
        client.send(request("/plain", "one.test"))
        try:
            data = client.rest()
        except ConnectionError:
            return
        assert b" 200 " not in data


def test_a_large_body_passes_through_both_sides(
    port: int, certificates: Certificates, origins: dict[str, Origin]
) -> None:
    def echo(visit: Visit) -> None:
        while (asked := visit.next()) is not None:
            visit.send(reply(200, asked.body))

    origins["verified"].start(echo, tls=certificates.server("127.0.0.1"))
    body = bytes(range(256)) * 8192
    with Client(port, tls=certificates.client(), name="one.test") as client:
        assert client.ask("/verified", "one.test", method="POST", body=body).body == body


@pytest.mark.parametrize("name", ["verified", "named", "unverified", "mutual"])
def test_an_endpoint_that_proves_its_name_is_used(secured: Gateway, origins: dict[str, Origin], name: str) -> None:
    with secured.client() as client:
        for _ in range(2):
            assert client.ask(f"/{name}", "x.test").status == 200
    assert origins[name].last.get("x-forwarded-proto") == "http"


@pytest.mark.parametrize("name", ["unnamed", "untrusted", "speaks-plain"])
def test_an_endpoint_that_cannot_is_502_and_sees_no_request(
    secured: Gateway, origins: dict[str, Origin], name: str
) -> None:
    with secured.client() as client:
        response = client.ask(f"/{name}", "x.test", "Authorization: secret")
        assert response.status in (502, 503)
    assert b"secret" not in origins[name].heard
    assert origins[name].requests == []


def test_a_client_that_leaves_within_the_handshake_does_no_harm(
    secured: Gateway, port: int, certificates: Certificates
) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    with Client(port, tls=certificates.client(), name="one.test") as client:
        assert client.ask("/plain", "one.test").status == 200
