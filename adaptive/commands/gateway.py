"""Commands around a running gateway: what it serves, and what its admin API says."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from adaptive.failure import Failure

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")]
DataPlane = Annotated[
    Literal["embedded", "envoy", "xds"],
    typer.Option(
        help="What carries the requests: our own workers, an Envoy started here, or Envoys started elsewhere."
    ),
]
TOKEN = "ADAPTIVE_ADMIN_TOKEN"  # a variable of the environment: arguments are seen by everybody on a machine
# Of commands that ask a running gateway: where it is, by its configuration or plainly.
Asked = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration that names its admin address.", metavar="FILE")
]
Admin = Annotated[
    str,
    typer.Option(help=f"Instead: that address; a token is taken from ${TOKEN}.", metavar="HOST:PORT"),
]
PATIENCE = 5.0  # seconds for an answer of the admin API
RELOADING = 30.0  # seconds for a reload, which waits for every process


def serve(
    config: ConfigFile,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="Least level.")] = "info",
    log_format: Annotated[Literal["auto", "json", "text"], typer.Option(help="auto: text on a terminal.")] = "auto",
    data_plane: DataPlane = "embedded",
) -> None:
    """Run the gateway until SIGTERM, which drains it; a second SIGTERM stops it at once.

    SIGHUP, or a change of the file, reloads: all but the addresses (listen, admin), TLS on or off, and workers, which
    need a restart. SIGUSR1 opens the access log anew.
    """
    from adaptive.app import serve as run

    raise typer.Exit(run(str(config), log_level, log_format, data_plane))


def check(config: ConfigFile, data_plane: DataPlane = "embedded") -> None:
    """Check a configuration and print OK, or every error, what the data plane cannot do too. Touches no network."""
    from adaptive.config.load import load
    from adaptive.config.planes import embedded
    from adaptive.envoy.translate.unsaid import unsaid

    load(config, files=True, plane=embedded if data_plane == "embedded" else unsaid)
    typer.echo("OK")


def schema() -> None:
    """Print the JSON Schema of the configuration."""
    from adaptive.config.schema import schema as made

    typer.echo(json.dumps(made(), indent=2))


def healthcheck(config: Asked = None, admin: Admin = "") -> None:
    """Exit 0 if the gateway is ready, else 1: for a container's HEALTHCHECK."""
    _ask(config, admin, "/readyz")


def status(
    config: Asked = None,
    admin: Admin = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the state of every endpoint."""
    typer.echo(_ask(config, admin, "/clusters" if as_json else "/clusters?format=text").rstrip())


def explain(
    cluster: Annotated[str, typer.Argument(help="The cluster's name.")],
    endpoint: Annotated[str, typer.Argument(help="The endpoint, host:port.")],
    config: Asked = None,
    admin: Admin = "",
) -> None:
    """Show why an endpoint has its state and weight."""
    query = urllib.parse.urlencode({"cluster": cluster, "endpoint": endpoint})
    typer.echo(_ask(config, admin, f"/explain?{query}").rstrip())


def reload(config: Asked = None, admin: Admin = "") -> None:
    """Make the running gateway read its configuration again."""
    generation = json.loads(_ask(config, admin, "/-/reload", method="POST", seconds=RELOADING))["generation"]
    typer.echo(f"configuration {generation} is in force")


def version() -> None:
    """Print the version."""
    from adaptive.version import __version__

    typer.echo(__version__)


def demo(context: typer.Context) -> None:
    """Watch it at work: a small fleet with faults, a load, and the gateway."""
    from adaptive.demo import run

    raise typer.Exit(run.main(context.args))


def _ask(config: Path | None, admin: str, path: str, method: str = "GET", seconds: float = PATIENCE) -> str:
    """The admin API's answer. Raises Failure."""
    where, token = _named(config) if config is not None and not admin else _plain(config, admin)
    request = urllib.request.Request(f"http://{where}{path}", method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    # No proxy of the environment: the admin address is this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        raise Failure(_reason(error)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(f"no answer from the admin address {where}: {reason}") from None


def _named(config: Path) -> tuple[str, str]:
    """The admin address and token in a configuration. Raises Failure."""
    from adaptive.config.address import write_address
    from adaptive.config.load import load

    admin = load(config).admin
    if admin is None:
        raise Failure(f"{config} has no admin address")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.host, admin.host)
    return write_address(host, admin.port), admin.token.get_secret_value() if admin.token is not None else ""


def _plain(config: Path | None, admin: str) -> tuple[str, str]:
    """The admin address that was given, and the token in the environment. Raises typer.BadParameter."""
    from adaptive.config.address import read_address, write_address

    if not admin or config is not None:
        raise typer.BadParameter("either --config or --admin says where the gateway is", param_hint="--admin")
    try:
        where = write_address(*read_address(admin))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--admin") from None
    return where, os.environ.get(TOKEN, "")


def _reason(error: urllib.error.HTTPError) -> str:
    body = error.read().decode(errors="replace").strip()
    try:
        told: dict[str, Any] = json.loads(body)
        return f"{told['title']}: {told['detail']}" if told.get("detail") else str(told["title"])
    except (ValueError, TypeError, KeyError):
        return body or f"status {error.code}"
