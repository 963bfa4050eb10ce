"""What is made from a checkout names its commit, and a changed checkout says that it is one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from adaptive.bench.checkout import CHANGED, commit
from adaptive.failure import Failure


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text("x = 1\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "code.py"), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert commit(False, checkout) == head.strip()


def test_a_changed_one_is_refused_or_marked(checkout: Path) -> None:
    clean = commit(False, checkout)
    (checkout / "code.py").write_text("x = 2\n")
    with pytest.raises(Failure, match=r"1 files are not as committed \(code\.py\)"):
        commit(False, checkout)
    assert commit(True, checkout) == clean + CHANGED


def test_code_that_was_installed_is_of_no_commit(tmp_path: Path) -> None:
    assert commit(False, tmp_path) == ""
