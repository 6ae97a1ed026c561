"""The command line. Each command imports what it needs when it runs: `weft proxy` must start fast.

Every error that a user can cause ends here as one line on stderr and exit code 1.
"""

from __future__ import annotations

import sys

import click

from weft.errors import UserError

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=SETTINGS)
def weft() -> None:
    """Weft: a service mesh that runs from one command.

    \b
      weft up examples/postcard         a whole mesh on this machine, until Ctrl-C
      weft run --service messenger -- python messenger.py
                                        one more process in it
      weft status                       how it is
      weft proxy -c envoy.yaml          the proxy alone, with an Envoy bootstrap
      weft controlplane --config DIR    the control plane alone
    """


@weft.command()
@click.argument("directory", type=click.Path(path_type=str))
@click.option("--check", is_flag=True, help="Start, ask every entry point, stop: exit 0 or 1.")
@click.option("--state-dir", default=".weft", show_default=True, help="Keys, logs, addresses.")
@click.option("--no-restart", is_flag=True, help="Leave a process that has died as it is.")
@click.option("--port", type=click.IntRange(1, 65535), help="Gateway port [default: 8080 or next].")
def up(directory: str, check: bool, state_dir: str, no_restart: bool, port: int | None) -> None:
    """Run the mesh of DIRECTORY on this machine, until Ctrl-C.

    DIRECTORY has Kubernetes and Istio YAML. Each Deployment runs as a process here (its first
    container's command, with PORT in the environment) with a sidecar beside it. Every HTTP
    Service gets a URL such as http://greeter.localhost:8080/; changes of Services, routes and
    policies reach the proxies as soon as a file is saved.

    \b
    Examples:
      weft up examples/postcard
      weft up examples/postcard --check        in CI: exit 0 if every service answers
      weft up shop --port 9000 --state-dir /tmp/shop
    """
    from pathlib import Path

    from weft import up as laptop
    from weft.mesh import MeshOptions

    options = MeshOptions(Path(directory), Path(state_dir), not no_restart, port)
    sys.exit(laptop.check_all(options) if check else laptop.up(options))


@weft.command(context_settings={"ignore_unknown_options": True})
@click.option("--service", required=True, help="The Service that the process serves.")
@click.option("--namespace", default="default", show_default=True)
@click.option("--service-account", help="Its identity  [default: the service's name].")
@click.option("--version", help="Its label `version`, for subsets.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it listens [default: $PORT].")
@click.option("--state-dir", default=".weft", show_default=True, help="Of the running mesh.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    service: str,
    namespace: str,
    service_account: str | None,
    version: str | None,
    port: int | None,
    state_dir: str,
    command: tuple[str, ...],
) -> None:
    """Join one more process to the running mesh, until it ends.

    It gets its own sidecar and identity, PORT to listen on and http_proxy to call others by
    name. Signals go to it, and its exit code is this command's.

    \b
    Examples:
      weft run --service messenger --version v2 -- python messenger.py --version v2
      weft run --service cart --port 3000 -- npm start
    """
    from pathlib import Path

    from weft import run as joined

    options = joined.RunOptions(
        service=service,
        command=command,
        namespace=namespace,
        service_account=service_account,
        version=version,
        port=port,
        state_dir=Path(state_dir),
    )
    sys.exit(joined.run(options))


@weft.command()
@click.option("--state-dir", default=".weft", show_default=True, help="Of the running mesh.")
def status(state_dir: str) -> None:
    """Show services, proxies and configuration errors of the running mesh.

    Exit code 1 when the configuration has errors or a proxy refused it.
    """
    from pathlib import Path

    from weft import status as shown

    sys.exit(shown.status(Path(state_dir)))


@weft.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    click.echo(f"weft {installed('weft')}")


def main() -> None:
    """The console script."""
    try:
        weft.main(prog_name="weft", standalone_mode=False)
    except click.ClickException as error:
        message = error.format_message()
        hint = " (see weft --help)" if isinstance(error, click.UsageError) else ""
        fail(f"{message}{hint}", error.exit_code)
    except click.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        fail(str(error), 1)
    except BrokenPipeError:
        sys.exit(0)


def fail(message: str, code: int) -> None:
    print(f"weft: error: {message}", file=sys.stderr)
    sys.exit(code)
