"""Commands, run inside the test's own process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from adaptive.cli import app
from adaptive.failure import Failure


def run(*arguments: object) -> Result:
    """What `adaptive` with these arguments came to."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """What it says that it could not do."""
    error = run(*arguments).exception
    assert isinstance(error, Failure), error
    return str(error)
