"""The commit that the running code is of, so that what it makes can be made again."""

from __future__ import annotations

import subprocess
from pathlib import Path

from adaptive.failure import Failure

ROOT = Path(__file__).parents[2]
CHANGED = "+changed"  # after the commit of a checkout that is not as it was committed


def commit(dirty: bool, root: Path = ROOT) -> str:
    """Its hash; "" where the code is in no checkout of its own, as when it was installed. Raises Failure for a checkout
    with changes, unless they are `dirty` on purpose: then it is marked.
    """
    if not (root / ".git").exists():
        return ""
    found = _git(root, "rev-parse", "HEAD").strip()
    changes = _git(root, "status", "--porcelain").splitlines()
    if not changes:
        return found
    if not dirty:
        names = ", ".join(line[3:] for line in changes[:3])
        raise Failure(f"{root}: {len(changes)} files are not as committed ({names}): commit first, or --dirty")
    return found + CHANGED


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise Failure("git is not installed, and the manifest must name the commit") from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"git {arguments[0]}: {error.stderr.strip()}") from None
