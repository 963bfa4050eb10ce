"""The commands. Data goes to stdout, words to stderr; exit codes: 0 done, 1 could not, 2 wrong usage.

Nothing heavy is imported before the command that needs it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from adaptive.bench.command import app as bench_app
from adaptive.commands import gateway
from adaptive.commands.envoy import app as envoy_app
from adaptive.commands.evaluate import evaluate
from adaptive.commands.events import app as events_app
from adaptive.commands.importing import import_log
from adaptive.commands.models import app as models_app
from adaptive.commands.replay import replay
from adaptive.commands.report import report
from adaptive.commands.scenarios import scenarios
from adaptive.commands.simulate import simulate
from adaptive.commands.swarm import swarm
from adaptive.commands.sweep import sweep
from adaptive.commands.train import train
from adaptive.failure import Failure

app = typer.Typer(
    help="An HTTP gateway that learns which instances are about to fail, and steers traffic away from them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        gateway.version()
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """What may stand before a command."""


config_app = typer.Typer(help="The configuration's own form.", no_args_is_help=True)
config_app.command("schema")(gateway.schema)

# What a disk says, which every file's own error names; without a name it is of what goes to standard output.
_OF_WRITING = frozenset({errno.EFBIG, errno.EIO, errno.ENOSPC})

# The three things that people do with Adaptive, each with its commands in the order in which they are met.
GATEWAY, REPLAY, LEARNING, ITSELF = "Smart gateway", "Replay and evaluation", "Models", "Adaptive itself"
app.command(rich_help_panel=GATEWAY)(gateway.serve)
app.command(rich_help_panel=GATEWAY)(gateway.check)
app.command(rich_help_panel=GATEWAY)(gateway.status)
app.command(rich_help_panel=GATEWAY)(gateway.explain)
app.command(rich_help_panel=GATEWAY)(gateway.reload)
app.command(rich_help_panel=GATEWAY)(gateway.healthcheck)
app.add_typer(config_app, name="config", rich_help_panel=GATEWAY)
app.add_typer(envoy_app, name="envoy", rich_help_panel=GATEWAY)
app.command("import", rich_help_panel=REPLAY)(import_log)
app.command(rich_help_panel=REPLAY)(evaluate)
app.command(rich_help_panel=REPLAY)(replay)
app.command(rich_help_panel=REPLAY)(simulate)
app.command(rich_help_panel=REPLAY)(scenarios)
app.command(rich_help_panel=REPLAY)(sweep)
app.command(rich_help_panel=REPLAY)(swarm)
app.command(rich_help_panel=REPLAY)(report)
app.add_typer(events_app, name="events", rich_help_panel=REPLAY)
app.command(rich_help_panel=LEARNING)(train)
app.add_typer(models_app, name="models", rich_help_panel=LEARNING)
app.command(
    rich_help_panel=ITSELF,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(gateway.demo)
app.add_typer(bench_app, name="bench", rich_help_panel=ITSELF)
app.command(rich_help_panel=ITSELF)(gateway.version)


def main() -> NoReturn:
    """The script `adaptive`: what goes wrong is a line on stderr, not a traceback."""
    from adaptive.config.errors import ConfigErrors

    signal.signal(signal.SIGTERM, _terminated)  # `serve`, which drains, has its own
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - closed by who called us: what is written is lost
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        app()
    except (Failure, ConfigErrors) as error:
        _die(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OSError as error:
        where = error.filename or ("standard output" if error.errno in _OF_WRITING else "")
        if not error.filename:
            _drop_output()
        _die(f"{where}: {error.strerror}" if where else str(error))
    except Exception as error:
        if os.environ.get("ADAPTIVE_TRACEBACK"):
            raise
        _die(f"{type(error).__name__}: {error} (set ADAPTIVE_TRACEBACK=1 to see where)")
    sys.exit(0)


def _terminated(number: int, _: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: with what it began taken back, and its processes ended."""
    sys.exit(128 + number)


def _drop_output() -> None:
    """What is left to be written to standard output is lost, or the interpreter tries once more at its end."""
    with contextlib.suppress(OSError):  # it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _die(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
