"""Reading /proc: the whole tree, and the time of those that have ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from adaptive.bench.processes import cpu_by_role, spent, tree, usage, usages

# A parent whose first child burns CPU time and ends, and whose second stays.
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.1: pass"])
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdin is not None
    yield parent.pid, int(parent.stdout.readline())
    parent.stdin.close()
    parent.wait(10)
    parent.stdout.close()


def test_a_tree_holds_parents_before_children_and_nobody_else(family: tuple[int, int]) -> None:
    assert tree(family[0]) == list(family)


def test_the_time_of_children_that_have_ended_is_kept(family: tuple[int, int]) -> None:
    found = usages(family[0])
    assert [one.pid for one in found] == list(family)
    assert found[0].reaped >= 0.09
    assert cpu_by_role(found)["supervisor"] == pytest.approx(sum(one.cpu + one.reaped for one in found))
    assert all(one.rss > 1e6 and one.fds >= 3 and one.threads == 1 for one in found)


def test_a_process_that_is_gone_is_none(family: tuple[int, int]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert usage(ended.pid) is None
    assert tree(ended.pid) == []


def test_spending_counts_a_role_that_came_later() -> None:
    assert spent({"worker": 1.0}, {"worker": 3.0, "brain": 0.5}) == {"worker": 2.0, "brain": 0.5}
