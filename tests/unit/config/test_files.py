"""The files that a configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from adaptive.config.errors import ConfigErrors
from adaptive.config.load import check_files, load, parse
from tests import certificates

TEXT = """\
listen:
  address: 127.0.0.1:0
  tls:
    cert: {dir}/cert.pem
    key: {dir}/key.pem
clusters:
  api:
    endpoints: [localhost:1]
    tls: {{ca: {dir}/ca.pem}}
routes: [{{cluster: api}}]
access_log: {dir}/{log}
"""


def written(folder: Path, log: str = "access.log") -> str:
    file = folder / "g.yaml"
    file.write_text(TEXT.format(dir=folder, log=log), encoding="utf-8")
    return str(file)


@pytest.fixture
def certified(tmp_path: Path) -> Path:
    """A folder with all that TEXT names."""
    certificates.write(tmp_path, "localhost")
    return tmp_path


def test_files_that_are_there_are_no_error(certified: Path) -> None:
    config = load(written(certified), files=True)
    assert check_files(config) == []


def test_files_that_cannot_be_read_are_told_with_their_lines(tmp_path: Path) -> None:
    file = written(tmp_path, "none/access.log")
    with pytest.raises(ConfigErrors) as caught:
        load(file, files=True)
    gone = "no such file or directory"
    assert str(caught.value).splitlines() == [
        f"{file}:4: listen.tls.cert: {tmp_path}/cert.pem: {gone}",
        f"{file}:5: listen.tls.key: {tmp_path}/key.pem: {gone}",
        f"{file}:9: clusters.api.tls.ca: {tmp_path}/ca.pem: {gone}",
        f"{file}:11: access_log: {tmp_path}/none: no such directory",
    ]
    assert len(check_files(load(file))) == 4


def test_the_model_itself_opens_no_file() -> None:
    assert parse(TEXT.format(dir="/nowhere", log="a")).listen[0].tls is not None


def test_a_key_of_another_certificate_is_told(certified: Path) -> None:
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(certified / "key.pem"))
    (certified / "ca.pem").write_text("nothing")
    found = [error.message for error in check_files(load(written(certified)))]
    assert len(found) == 2
    assert found[0].endswith("no unencrypted PEM with its key: key values mismatch")
    assert "not certificates in PEM" in found[1]
