"""The files of a configuration: the only place that opens any."""

from __future__ import annotations

import os
from collections.abc import Iterator

from adaptive.config.document import Fault
from adaptive.config.envoy import ServiceTLS
from adaptive.config.model import Certificate, Config, UpstreamTLS

# A hundred thousand endpoints; a device that never ends must not fill the memory.
LONGEST_FILE = 64 << 20


class Unreadable(Exception):
    """A file that gives no text, with the reason. `line` counts from 1; 0: of the file as a whole."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


def read_text(path: str) -> str:
    """The text of a file in UTF-8. Raises Unreadable."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from None
    except ValueError:
        raise Unreadable("not a path") from None
    if len(raw) > LONGEST_FILE:
        raise Unreadable(f"longer than {LONGEST_FILE >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"not UTF-8 text: byte 0x{raw[error.start]:02x}", line) from None


def file_faults(config: Config) -> list[Fault]:
    """What is wrong with the files that a configuration names."""
    return [*_listeners(config), *_clusters(config), *_access_log(config), *_service(config)]


def _listeners(config: Config) -> Iterator[Fault]:
    for index, listener in enumerate(config.listen):
        for number, certificate in enumerate(listener.tls.certificates if listener.tls else ()):
            yield from _pair(("listen", index, "tls", "certificates", number), certificate)


def _clusters(config: Config) -> Iterator[Fault]:
    for name, cluster in config.clusters.items():
        if cluster.tls is None:
            continue
        path = ("clusters", name, "tls")
        yield from _pair(path, cluster.tls)
        if cluster.tls.ca is not None:
            yield from _authorities((*path, "ca"), cluster.tls.ca)


def _service(config: Config) -> Iterator[Fault]:
    tls = config.envoy.service.tls if config.envoy.service else None
    if tls is not None:
        yield from _pair(("envoy", "service", "tls"), tls)
        yield from _authorities(("envoy", "service", "tls", "ca"), tls.ca)


def _pair(path: tuple[str | int, ...], files: Certificate | UpstreamTLS | ServiceTLS) -> Iterator[Fault]:
    """A certificate and its key: both readable, and of each other."""
    import ssl

    whole = True
    for way, file in (("cert", files.cert), ("key", files.key)):
        if file is not None and (reason := _unreadable(file)):
            whole = False
            yield Fault((*path, way), f"{file}: {reason}")
    if files.cert is None or not whole:
        return
    try:
        # An encrypted key asks on the terminal for its password, unless it is given one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        yield Fault((*path, "cert"), f"{files.cert}: no unencrypted PEM with its key: {_plain(reason)}")


def _authorities(path: tuple[str | int, ...], file: str) -> Iterator[Fault]:
    import ssl

    if reason := _unreadable(file):
        yield Fault(path, f"{file}: {reason}")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (ssl.SSLError, ValueError, OSError) as error:
        yield Fault(path, f"{file}: not certificates in PEM: {_plain(getattr(error, 'reason', None) or str(error))}")


def _plain(reason: str) -> str:
    return reason.lower().replace("_", " ")


def _unreadable(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _access_log(config: Config) -> Iterator[Fault]:
    if config.access_log is None or config.access_log.path == "-":
        return
    directory = os.path.dirname(config.access_log.path) or "."
    if not os.path.isdir(directory):
        yield Fault(("access_log", "path"), f"{directory}: no such directory")
