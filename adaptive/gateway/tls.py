"""TLS on both sides: contexts towards endpoints, and certificates for clients, by SNI and exchanged in flight."""

from __future__ import annotations

import ssl

from adaptive.config.cluster import UpstreamTLS
from adaptive.config.server import Certificate, ListenerTLS

_ALPN = ["http/1.1"]


class Certificates:
    """A listener's certificates. `context` is what the listening socket keeps; `update` changes what it hands out."""

    def __init__(self, config: ListenerTLS) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(_ALPN)
        self.context.sni_callback = self._choose
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._default = self.context
        self.update(config)

    def update(self, config: ListenerTLS) -> None:
        """Takes new certificates, for the handshakes from now on. Raises OSError and ssl.SSLError, changing nothing."""
        by_name: dict[str, ssl.SSLContext] = {}
        default: ssl.SSLContext | None = None
        for certificate in config.certificates:
            context = _server_context(certificate, config.min_version)
            by_name.update(dict.fromkeys(certificate.names, context))
            if default is None or not certificate.names:
                default = context
        assert default is not None, "a listener with TLS has a certificate"
        self._by_name, self._default = by_name, default

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        name = (name or "").lower()
        wildcard = "*." + name.partition(".")[2]
        connection.context = self._by_name.get(name) or self._by_name.get(wildcard) or self._default


def _server_context(certificate: Certificate, min_version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate.cert, certificate.key)
    context.set_alpn_protocols(_ALPN)
    return context


def upstream_context(config: UpstreamTLS | None) -> ssl.SSLContext | None:
    """The client's side of TLS towards endpoints. Raises OSError and ssl.SSLError where its files are unusable."""
    if config is None:
        return None
    context = ssl.create_default_context(cafile=config.ca)
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.client_certificate is not None:
        context.load_cert_chain(*config.client_certificate)
    context.set_alpn_protocols(_ALPN)
    return context
