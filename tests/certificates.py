"""Certificates on disk, of an authority that is made for a test."""

from __future__ import annotations

from pathlib import Path

import trustme


def write(folder: Path, name: str) -> None:
    """Make an authority and a certificate for this name: ca.pem, cert.pem and key.pem in the folder."""
    authority = trustme.CA()
    made = authority.issue_cert(name)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
