"""Certificates by SNI, and their exchange while connections come in."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from adaptive.config.server import ListenerTLS
from adaptive.gateway.tls import Certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def files(authority: trustme.CA, folder: Path, *names: str) -> dict[str, str]:
    issued = authority.issue_cert(*names)
    cert, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return {"cert": str(cert), "key": str(key)}


def presented(certificates: Certificates, authority: trustme.CA, name: str) -> str:
    """The name in the certificate that a client who asks for `name` is shown."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    authority.configure_trust(client_context)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = certificates.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    found = client.getpeercert()
    assert found is not None
    return str(found["subjectAltName"][0][1])  # type: ignore[index]


def test_the_name_asked_for_chooses_the_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    listed = [
        {**files(authority, tmp_path, "a.test"), "names": ["a.test"]},
        {**files(authority, tmp_path, "b.test"), "names": ["*.b.test"]},
        files(authority, tmp_path, "default.test"),
    ]
    certificates = Certificates(ListenerTLS.model_validate({"certificates": listed}))
    assert presented(certificates, authority, "a.test") == "a.test"
    assert presented(certificates, authority, "x.b.test") == "b.test"
    assert presented(certificates, authority, "unknown.test") == "default.test"


def test_new_certificates_are_shown_from_the_next_handshake_on(authority: trustme.CA, tmp_path: Path) -> None:
    certificates = Certificates(ListenerTLS.model_validate(files(authority, tmp_path, "old.test")))
    assert presented(certificates, authority, "any.test") == "old.test"
    certificates.update(ListenerTLS.model_validate(files(authority, tmp_path, "new.test")))
    assert presented(certificates, authority, "any.test") == "new.test"


def test_unusable_files_change_nothing(authority: trustme.CA, tmp_path: Path) -> None:
    certificates = Certificates(ListenerTLS.model_validate(files(authority, tmp_path, "old.test")))
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        certificates.update(ListenerTLS.model_validate({"cert": str(broken), "key": str(broken)}))
    assert presented(certificates, authority, "any.test") == "old.test"
