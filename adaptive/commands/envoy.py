"""`adaptive envoy`: what Envoys that run elsewhere need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from adaptive.failure import Failure

app = typer.Typer(help="Envoys that run elsewhere (--data-plane xds).", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `bootstrap` a command of its own."""


@app.command()
def bootstrap(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")],
    node: Annotated[str, typer.Option(help="Its name, which metrics and logs show; each Envoy has its own.")],
    admin: Annotated[str, typer.Option(help="host:port of Envoy's own admin API; none unless given.")] = "",
    ca: Annotated[str, typer.Option(help="On Envoy's machine: who has signed our certificate.")] = "",
    cert: Annotated[str, typer.Option(help="On Envoy's machine: the certificate that it shows us.")] = "",
    key: Annotated[str, typer.Option(help="On Envoy's machine: that certificate's key.")] = "",
) -> None:
    """Print the bootstrap of an Envoy that finds us at envoy.service: `envoy --config-path` takes it."""
    from adaptive.config.address import read_address
    from adaptive.config.load import load
    from adaptive.envoy.bootstrap import Node
    from adaptive.envoy.bootstrap import bootstrap as made
    from adaptive.envoy.translate.unsaid import unsaid

    if not node.strip():
        raise typer.BadParameter("an Envoy without a name cannot be told from another", param_hint="--node")
    if admin:
        try:
            read_address(admin)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--admin") from None
    loaded = load(config, files=True, plane=unsaid)
    allowed = loaded.envoy.nodes
    if allowed and node not in allowed:
        raise Failure(f"{config}: envoy.nodes: {node!r} is none of {', '.join(allowed)}, and would be sent away")
    try:
        found = made(loaded, Node(node, admin=admin, authority=ca, cert=cert, key=key))
    except ValueError as error:
        raise Failure(f"{config}: {error}") from None
    typer.echo(json.dumps(found, indent=2))
