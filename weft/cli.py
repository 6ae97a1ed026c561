"""The command line. Each command imports what it needs when it runs: `weft proxy` must start fast.

Every error that a user can cause ends here as one line on stderr and exit code 1.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from weft.errors import UserError

if TYPE_CHECKING:
    from weft.locality import Locality

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
LOG_LEVELS = click.Choice(["debug", "info", "warning", "error"])


class Port(click.IntRange):
    """The help calls it what it is."""

    name = "port"

    def _describe_range(self) -> str:
        return ""


PORT, OWN_PORT = Port(0, 65535), Port(1, 65535)
PATH = click.Path(path_type=Path)


class Commands(click.Group):
    """ELSEWHERE are commands, and groups of them, in modules of their own."""

    ELSEWHERE: ClassVar = {
        "authz": "weft.authz",
        "ca": "weft.ca",
        "check": "weft.offline",
        "completion": "weft.completion",
        "diff": "weft.diff",
        "status": "weft.status",
        "token": "weft.token",
        **dict.fromkeys(("apply", "delete"), "weft.objects"),
        **dict.fromkeys(("get", "proxies"), "weft.listing"),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(self.ELSEWHERE[cmd_name]), cmd_name)
        return found


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.invoke(version)
        ctx.exit()


@click.group(cls=Commands, context_settings=SETTINGS)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="What `weft version` prints.",
)  # fmt: skip
def weft() -> None:
    """Weft: a service mesh that runs from one command.

    \b
      weft up examples/postcard         a whole mesh on this machine, until Ctrl-C
      weft run --service messenger -- python messenger.py
                                        one more process in it
      weft status                       how it is
      weft check mesh/                  what is wrong with YAML, before it runs
      weft apply -f route.yaml --wait   change it, until every proxy has it
      weft get vs                       what is in force, and where it comes from
      weft proxy -c envoy.yaml          the proxy alone, with an Envoy bootstrap
      weft controlplane --config DIR    the control plane alone
      weft ca show                      its certificate authority
      weft token create shop/cart       let a workload of another machine in
      weft authz explain                who may do what, and why not
      weft ca doctor                    which certificate ends when
    """


@weft.command()
@click.argument("directory", type=click.Path(path_type=str))
@click.option("--check", is_flag=True, help="Start, ask every entry point, stop: exit 0 or 1.")
@click.option(
    "--state-dir", default=".weft", show_default=True, metavar="DIR", help="Keys, logs, addresses."
)
@click.option("--no-restart", is_flag=True, help="Leave a process that has died as it is.")
@click.option("--port", type=OWN_PORT, help="Gateway port [default: 8080 or next].")
@click.option(
    "--state-passphrase-file",
    default="",
    metavar="FILE",
    help="Encrypt the authority's keys in --state-dir by this passphrase: a file, or env:NAME.",
)
def up(
    directory: str,
    check: bool,
    state_dir: str,
    no_restart: bool,
    port: int | None,
    state_passphrase_file: str,
) -> None:
    """Run the mesh of DIRECTORY on this machine, until Ctrl-C.

    DIRECTORY has Kubernetes and Istio YAML. Each Deployment runs as a process here (its first
    container's command, with PORT in the environment) with a sidecar beside it. Every HTTP
    Service gets a URL such as http://greeter.localhost:8080/; changes of Services, routes and
    policies reach the proxies as soon as a file is saved.

    \b
    Examples:
      weft up examples/postcard
      weft up examples/postcard --check    in CI: exit 0 if every service answers
      weft up shop --port 9000 --state-dir .weft-shop
    """
    from weft import up as laptop
    from weft.mesh import MeshOptions

    options = MeshOptions(
        Path(directory), Path(state_dir), not no_restart, port, passphrase=state_passphrase_file
    )
    sys.exit(laptop.check_all(options) if check else laptop.up(options))


def _locality(_: click.Context, __: click.Parameter, text: str | None) -> Locality:
    from weft.locality import NOWHERE, read

    try:
        return NOWHERE if text is None else read(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@weft.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--service", required=True, metavar="NAME", help="The Service that the process serves."
)
@click.option(
    "-n", "--namespace", default="default", show_default=True, metavar="NAME", help="Of both."
)
@click.option(
    "--service-account", metavar="NAME", help="Its identity  [default: the service's name]."
)
@click.option("--version", metavar="TEXT", help="Its label `version`, for subsets.")
@click.option("--port", type=OWN_PORT, help="Where it listens [default: $PORT].")
@click.option("--grpc", is_flag=True, help="No proxy: it is in the mesh by gRPC's own xDS.")
@click.option("--locality", metavar="REGION/ZONE", callback=_locality, help="Where it stands.")
@click.option(
    "--state-dir", default=".weft", show_default=True, metavar="DIR", help="Of the running mesh."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    service: str,
    namespace: str,
    service_account: str | None,
    version: str | None,
    port: int | None,
    grpc: bool,
    locality: Locality,
    state_dir: str,
    command: tuple[str, ...],
) -> None:
    """Join one more process to the running mesh, until it ends.

    It gets its own sidecar and identity, PORT to listen on and http_proxy to call others by
    name. Signals go to it, and its exit code is this command's.

    \b
    Examples:
      weft run --service messenger --version v2 -- python messenger.py v2
      weft run --service cart --port 3000 -- npm start
      weft run --service greeter --grpc -- python greeter.py
    """
    from weft import run as joined
    from weft.deployment import GRPC_AGENT, SIDECAR

    options = joined.RunOptions(
        service=service,
        command=command,
        namespace=namespace,
        service_account=service_account,
        version=version,
        port=port,
        injected=(GRPC_AGENT,) if grpc else (SIDECAR,),
        locality=locality,
        state_dir=Path(state_dir),
    )
    sys.exit(joined.run(options))


@weft.command()
@click.option(
    "-c", "--config", required=True, metavar="FILE", help="An Envoy v3 bootstrap, YAML or JSON."
)
@click.option("--state-dir", metavar="DIR", help="Keeps the key and the last good configuration.")
@click.option(
    "--ca-address", metavar="HOST:PORT", default="", help="Who signs this workload's certificate."
)
@click.option("--ca-server-name", default="", metavar="NAME", help="Of another CA, e.g. istiod's.")
@click.option("--ca-root", metavar="FILE", help="The trust bundle to verify the CA with (PEM).")
@click.option("--join-token-file", metavar="FILE", help="Proves the workload's identity once.")
@click.option(
    "--output-certs", metavar="DIR", help="Keep key and certificates there, for gRPC's own mTLS."
)
@click.option("--log-level", default="info", show_default=True, type=LOG_LEVELS)
def proxy(
    config: str,
    state_dir: str | None,
    ca_address: str,
    ca_server_name: str,
    ca_root: str | None,
    join_token_file: str | None,
    output_certs: str | None,
    log_level: str,
) -> None:
    """Run the proxy alone, with an Envoy bootstrap.

    It reads the bootstrap as Envoy does: static resources, or listeners, routes, clusters and
    endpoints over ADS. Its admin port has Envoy's paths (/ready, /stats, /clusters ...). With
    --ca-address it makes its own key, has it signed and renews the certificate at half life.

    \b
    Examples:
      weft proxy -c envoy.yaml
      weft proxy -c bootstrap.yaml --ca-address localhost:15010 \\
                 --ca-root root.pem --join-token-file token --state-dir state
    """
    from proxy.main import ProxyOptions, run

    options = ProxyOptions(
        bootstrap=Path(config),
        state_dir=_path(state_dir),
        ca_address=ca_address,
        ca_server_name=ca_server_name,
        ca_root=_path(ca_root),
        join_token_file=_path(join_token_file),
        output_certs=_path(output_certs),
        log_level=log_level,
    )
    sys.exit(run(options))


@weft.command(short_help="Run the control plane alone.")
@click.option("--config", type=PATH, metavar="DIR", help="Kubernetes and Istio YAML, watched.")
@click.option(
    "--kubernetes",
    "kubernetes_source",
    is_flag=True,
    help="Follow what an API server has: the pod's, or the kubeconfig's.",
)
@click.option("--kubeconfig", type=PATH, metavar="FILE", help="Of --kubernetes.")
@click.option("--context", default="", metavar="NAME", help="Another than the current one of it.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    metavar="NAME",
    help="Of --kubernetes, only this one; several may be given.",
)
@click.option(
    "--lease-namespace",
    default="",
    metavar="NAME",
    help="Where control planes elect a leader  [default: the pod's, or weft-system].",
)
@click.option(
    "--state-dir", type=PATH, required=True, metavar="DIR", help="The root key, tokens, addresses."
)
@click.option(
    "--store",
    default="",
    metavar="PLACE",
    help="Keeps what is applied: sqlite:PATH, or etcd://HOST,.../PREFIX for several replicas"
    "  [default: sqlite:STATE/store.sqlite3].",
)
@click.option("--store-ca", type=PATH, metavar="FILE", help="The roots of etcd's TLS (PEM).")
@click.option("--store-certificate", type=PATH, metavar="FILE", help="Ours, for etcd (PEM).")
@click.option("--store-key", type=PATH, metavar="FILE", help="Its key.")
@click.option("--store-user", default="", metavar="NAME", help="A user of etcd.")
@click.option(
    "--store-password-file", default="", metavar="FILE", help="Its password: a file, or env:NAME."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen."
)
@click.option("--port", default=15010, show_default=True, type=PORT, help="TLS, with a token.")
@click.option("--mtls-port", default=15012, show_default=True, type=PORT, help="Mutual TLS.")
@click.option("--admin-port", default=15014, show_default=True, type=PORT, help="Status, metrics.")
@click.option(
    "--trust-domain", default="cluster.local", show_default=True, metavar="NAME",
    help="Of every identity.",
)  # fmt: skip
@click.option("--allow-sds-keys", is_flag=True, help="Serve keys to a proven plain Envoy.")
@click.option(
    "--certificate-ttl",
    "certificate_ttl_s",
    metavar="SECONDS",
    default=86400,
    show_default=True,
    type=click.IntRange(5, 86400),
    help="How long workloads' certificates live.",
)
@click.option(
    "--issue-limit",
    "issue_limits",
    multiple=True,
    metavar="WHO=RATE:BURST",
    help="Certificates a second, and at once, of an identity, a source, in total.",
)
@click.option(
    "--ca-files", type=PATH, metavar="DIR", help="An authority that somebody else renews there."
)
@click.option(
    "--state-passphrase-file",
    default="",
    metavar="FILE",
    help="Encrypt the authority's keys in --state-dir by this passphrase: a file, or env:NAME.",
)
@click.option("--issuer-address", default="", metavar="HOST:PORT", help="A CSR service that signs.")
@click.option(
    "--issuer-root", type=PATH, metavar="FILE", help="The roots of that service, and of its work."
)
@click.option("--issuer-server-name", default="", metavar="NAME", help="In that service's TLS.")
@click.option("--bundle-port", type=PORT, help="SPIFFE bundle endpoint, for other meshes.")
@click.option(
    "--bundle-certificate", type=PATH, metavar="FILE", help="Its certificate, with https_web."
)
@click.option("--bundle-key", type=PATH, metavar="FILE", help="Its key, with https_web.")
@click.option(
    "--token-review",
    is_flag=False,
    flag_value="in-cluster",
    default="",
    metavar="[URL]",
    help="Have service-account tokens checked by this API server, or the pod's own.",
)
@click.option(
    "--api-credentials",
    default="/var/run/secrets/kubernetes.io/serviceaccount",
    type=PATH,
    metavar="DIR",
    help="ca.crt and token for --token-review  [default: the pod's].",
)
@click.option(
    "--service-account-jwks",
    type=PATH,
    metavar="FILE",
    help="Check them offline, by these public keys.",
)
@click.option(
    "--service-account-issuer", default="", metavar="URL", help="Who issues them, with the above."
)
@click.option(
    "--token-audience",
    "token_audiences",
    multiple=True,
    default=("istio-ca",),
    show_default=True,
    metavar="NAME",
    help="Whom a service-account token must be for; any one of several.",
)
@click.option(
    "--block-jwks",
    multiple=True,
    metavar="CIDR",
    help="Networks where no issuer is asked for its keys (OpenID discovery).",
)
@click.option("--log-level", default="warning", show_default=True, type=LOG_LEVELS)
def controlplane(**options: Any) -> None:
    """Run the control plane alone: xDS, certificates and the management API.

    Once it serves it writes its addresses to STATE/controlplane.json. Port 0 is any free port.

    \b
    Examples:
      weft controlplane --config mesh --state-dir /var/lib/weft --host 0.0.0.0
      weft controlplane --kubernetes --state-dir /var/lib/weft --host 0.0.0.0
      weft controlplane --store etcd://etcd.example/weft --store-ca ca.pem \\
                        --state-passphrase-file pass --state-dir /var/lib/weft
    """
    gc.disable()  # what is imported stays, and to look through it is a tenth of a start
    from controlplane.main import ControlPlaneOptions, run

    # Each option has the name of a field.
    sys.exit(run(ControlPlaneOptions(**options)))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


@weft.command("grpc-bootstrap", short_help="Write what a program with gRPC's own xDS needs.")
@click.argument("folder", type=PATH)
@click.option("--control-plane", required=True, metavar="HOST:PORT", help="Its mutual-TLS port.")
@click.option("--root", type=PATH, required=True, metavar="FILE", help="The trust bundle (PEM).")
@click.option("--workload", required=True, metavar="NAME", help="Of the WorkloadEntry or pod.")
@click.option("--namespace", default="default", show_default=True, metavar="NAME")
@click.option("--service-account", default="default", show_default=True, metavar="NAME")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Of the workload.")
@click.option("--admin-port", type=OWN_PORT, default=15000, show_default=True, help="Of the agent.")
def grpc_bootstrap(labels: tuple[str, ...], **options: Any) -> None:
    """Write what a program with gRPC's own xDS needs, and what to run beside it.

    FOLDER gets grpc.json for GRPC_XDS_BOOTSTRAP and agent.json for an agent (weft proxy), which
    has the identity, relays discovery and keeps the certificate files young. On a laptop
    `weft run --grpc` does all of this.

    \b
    Example:
      weft grpc-bootstrap /run/cart --control-plane weft.example.org:15012 \\
                          --root root.pem --workload cart-1 \\
                          --namespace shop --service-account cart
    """
    from weft.grpc_files import GrpcFiles, write

    pairs = dict(label.partition("=")[::2] for label in labels)
    click.echo(write(GrpcFiles(labels=pairs, **options)))


@weft.command()
def version() -> None:
    """Print the version, and whether the proxy is compiled."""
    from importlib.metadata import version as installed
    from importlib.util import find_spec

    spec = find_spec("proxy.l7.stream")
    python = spec is None or str(spec.origin).endswith(".py")
    kind = "proxy in Python: an editable install, or no C compiler" if python else "compiled proxy"
    click.echo(f"weft {installed('weft')} ({kind})")


def main() -> None:
    """The console script."""
    guarded(lambda: weft.main(prog_name="weft", standalone_mode=False))


def guarded(work: Callable[[], object]) -> None:
    """Runs it; whatever a user can cause becomes one line and an exit code."""
    try:
        work()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        message = error.format_message()
        hint = _hint(error) if isinstance(error, click.UsageError) else ""
        fail(f"{message}{hint}", error.exit_code)
    except click.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        fail(str(error), 1)
    except BrokenPipeError:
        sys.exit(0)


def _hint(error: click.UsageError) -> str:
    """The command whose help says how it is used; programs call us by other names."""
    command = error.ctx.command_path.partition(" ")[2] if error.ctx is not None else ""
    return f" (see {' '.join(filter(None, ('weft', command, '--help')))})"


def fail(message: str, code: int) -> None:
    print(f"weft: error: {message}", file=sys.stderr)
    sys.exit(code)
