"""`weft authz`: what policies decide, asked offline, and what they denied or would have denied.

Only the commands and how they are shown: the answer offline is `controlplane.authz`'s, the lists
are what each proxy's admin keeps (`/rbac`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from weft.errors import UserError
from weft.output import TEXT_OR_JSON, TextOrJson


@click.group()
def authz() -> None:
    """Ask who may do what: offline, and of running proxies.

    \b
      weft authz explain --from frontend --to reviews --path /api mesh/
      weft authz shadow
    """


# --------------------------------------------------------------------------- explain


@authz.command(short_help="Say which rule decides about a request, offline.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--from", "source", required=True, metavar="WHO", help="Who asks, see above.")
@click.option("--to", "target", required=True, metavar="WHOM", help="A service or workload.")
@click.option(
    "-n", "--namespace", default="default", show_default=True, metavar="NAME", help="Of both."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="PORT",
    help="The service's [default: first HTTP].",
)  # fmt: skip
@click.option("--method", default="GET", show_default=True)
@click.option("--path", default="/", show_default=True)
@click.option("--host", default="", metavar="NAME", help="Host header [default: the service].")
@click.option("--header", multiple=True, metavar="K=V", help="A request header; any number.")
@click.option("--claims", metavar="JSON", help="The payload of a valid token.")
@click.option("--sni", default="", metavar="NAME", help="Server name of the TLS connection.")
@click.option("--source-ip", default="", metavar="IP", help="Of the connection.")
@click.option("--remote-ip", default="", metavar="IP", help="As x-forwarded-for says.")
@click.option("--metadata", default="{}", metavar="JSON", help="Of other filters, by their names.")
@click.option("--trust-domain", default="cluster.local", show_default=True)
@TEXT_OR_JSON
def explain(
    directory: Path,
    output: TextOrJson,
    header: tuple[str, ...],
    claims: str | None,
    metadata: str,
    trust_domain: str,
    **asked: Any,
) -> None:
    """Say which rule decides about a request to a mesh that stands in DIRECTORY, and which nearly
    did. Nothing is running for it.

    WHO is a workload, Deployment, service or service account (also as NAMESPACE/NAME), a SPIFFE id,
    an IP address, or '-' for a client without a certificate.

    \b
    Exit code: 0 allowed, 1 denied, 2 unknown, 3 an ext_authz service decides.

    \b
    Examples:
      weft authz explain --from frontend --to reviews --path /reviews/7 mesh/
      weft authz explain --from - --to shop/db --port 5432 mesh/
      weft authz explain --from web --to api --claims '{"iss": "idp"}' mesh/
    """
    from controlplane.authz.command import Question, run

    question = Question(
        **asked,
        headers=dict(_pair(word) for word in header),
        claims=None if claims is None else _object("--claims", claims),
        metadata=_object("--metadata", metadata),
    )
    result = run(directory, question, trust_domain, output)
    for line in result.complaints:
        click.echo(line, err=True)
    if result.text:
        click.echo(result.text)
    sys.exit(result.code)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--header: expected NAME=VALUE, got {word!r}")
    return name, value


def _object(option: str, text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{option}: expected a JSON object")
    return found


# --------------------------------------------------------------------------- shadow


@authz.command(short_help="List what policies that run dry would have denied.")
@click.option("--state-dir", default=".weft", show_default=True, type=Path, help="Of `weft up`.")
@click.option("--admin", multiple=True, metavar="PORT", type=int, help="A proxy's, instead.")
@click.option("--enforced", is_flag=True, help="Real denials too.")
@TEXT_OR_JSON
def shadow(state_dir: Path, admin: tuple[int, ...], enforced: bool, output: TextOrJson) -> None:
    """List what policies that run dry (istio.io/dry-run) would have denied.

    Of each proxy: how many requests its dry policies would have allowed and denied since it
    started, and the last ones that they would have denied.

    \b
    Examples:
      weft authz shadow
      weft authz shadow --enforced -o json
    """
    proxies = {f"127.0.0.1:{port}": port for port in admin} or _sidecars(state_dir)
    found = {name: _asked(name, port, enforced) for name, port in sorted(proxies.items())}
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for name, told in found.items():
        for line in _lines(name, told):
            click.echo(line)


def _sidecars(state_dir: Path) -> dict[str, int]:
    """The admin port of each sidecar of a laptop mesh, by name."""
    found: dict[str, int] = {}
    for file in sorted(state_dir.glob("sidecars/*/bootstrap.json")):
        try:
            content = json.loads(file.read_text("utf-8"))
            address = content["admin"]["address"]["socket_address"]
            found[file.parent.name] = int(address["port_value"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # one that is just being written: it has denied nothing yet
    if not found:
        raise UserError(f"no proxy is known in {state_dir}; see --state-dir, or give --admin PORT")
    return found


COUNTED = (".allowed", ".denied", ".error")


def _asked(name: str, port: int, enforced: bool) -> dict[str, Any]:
    from weft import loopback

    listed = loopback.get_now(port, "/rbac?format=json")
    counted = loopback.get_now(port, f"/stats?filter={quote('rbac|jwt_authn|ext_authz')}")
    if listed.status != 200:
        return {"error": f"{name}: the admin does not answer: {listed.reason or listed.status}"}
    denials = json.loads(listed.body)["denials"]
    shown = [one for one in denials if _is_dry(one) or (enforced and not one["shadow"])]
    return {"counters": dict(_counters(counted.text, enforced)), "denials": shown}


def _is_dry(denial: Mapping[str, Any]) -> bool:
    """The shadow also finds out what CUSTOM policies take: that is no denial."""
    return bool(denial["shadow"]) and not denial["policy"].startswith("istio-ext-authz-")


def _counters(text: str, enforced: bool) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        stat, _, value = line.partition(": ")
        dry = "istio_dry_run_" in stat
        if value.isdigit() and (dry or (enforced and stat.endswith(COUNTED))):
            yield stat, int(value)


def _lines(name: str, told: Mapping[str, Any]) -> Iterable[str]:
    if "error" in told:
        yield told["error"]
        return
    yield f"{name}: {len(told['denials'])} listed"
    yield from (f"  {stat}: {value}" for stat, value in told["counters"].items() if value)
    for one in told["denials"]:
        verb = "would deny" if one["shadow"] else "denied"
        reason = one.get("reason", "")
        policy = one["policy"] or ("" if reason else "no ALLOW policy applies")
        by = ", ".join(filter(None, (reason, f"{policy} {one['source']}".strip())))
        request = f"{one['method']} {one['host']}{one['path']}".strip() or "a connection"
        yield f"  {one['time']} {verb} {request} from {one['principal'] or one['client']}: {by}"
