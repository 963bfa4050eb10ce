"""The notebooks: they import and plot, define nothing, store no outputs, and run as they are.

Executing one takes as long as its evaluation of a small trace, ten seconds or so.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
OUTPUTS = 2_000  # bytes of stored outputs: a table may stay, a picture may not


def definitions(source: str) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, DEFINITIONS)]


def test_the_rule_finds_what_is_planted() -> None:
    assert definitions("x = 1\nplot(x)") == []
    assert len(definitions("def f(): pass\ny = lambda: 1\nclass C: pass")) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_and_stores_no_large_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and definitions("\n".join("".join(cell["source"]) for cell in code)) == []
    assert len(json.dumps([cell["outputs"] for cell in code])) < OUTPUTS
    assert path.name in (path.parent / "README.md").read_text(encoding="utf-8")


def executed(name: str, monkeypatch: pytest.MonkeyPatch, seconds: str) -> tuple[int, str]:
    """How many pictures a notebook made, and all that it printed."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SECONDS", seconds)
    monkeypatch.delenv("TRACE", raising=False)
    made = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbclient.NotebookClient(made, timeout=200, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    kinds = [kind for cell in made.cells for out in cell.get("outputs", []) for kind in out.get("data", {})]
    printed = "".join(out.get("text", "") for cell in made.cells for out in cell.get("outputs", []))
    return kinds.count("image/png"), printed


@pytest.mark.timeout(240)
def test_policy_evaluation_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, printed = executed("policy_evaluation.ipynb", monkeypatch, "10")
    assert pictures == 4
    assert "adaptive" in printed and "peak_ewma" in printed and "note:" in printed


@pytest.mark.timeout(240)
def test_failure_prediction_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, printed = executed("failure_prediction.ipynb", monkeypatch, "60")
    assert pictures == 4
    assert "answered" in printed and " 0.0% of them" not in printed
