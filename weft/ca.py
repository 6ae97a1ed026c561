"""`weft ca`: the certificate authority of a state directory, by hand or in a running mesh.

Only the commands: what they do offline is `certs.cli`, what a running control plane does is
`weft.rotate_online`.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import IO, ParamSpec

import click

from weft.durations import Duration
from weft.errors import UserError
from weft.output import TEXT_OR_JSON, TextOrJson

P = ParamSpec("P")
_CONTROL_PLANE_LOCK = "controlplane.lock"


class Passphrase(click.ParamType[bytes]):
    """Where one is, of which it is read: the words themselves stand in no command line."""

    name = "passphrase"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        from certs.errors import CertificateError
        from certs.passphrase import read_passphrase

        try:
            return value if isinstance(value, bytes) else read_passphrase(str(value), os.environ)
        except CertificateError as error:
            raise UserError(str(error)) from error


STATE_DIR = click.option(
    "--state-dir", default=".weft", show_default=True, type=Path, metavar="DIR",
    help="Of the control plane.",
)  # fmt: skip
SOURCE = click.option(
    "--from", "source", type=Path, metavar="DIR",
    help="Your own authority: a folder as Istio's cacerts or a kubernetes.io/tls secret.",
)  # fmt: skip
ROOT_DIR = click.option(
    "--root-dir", type=Path, metavar="DIR",
    help="Keep the root here, offline (made if DIR is empty); an intermediate of it signs.",
)  # fmt: skip
PASSPHRASE = click.option(
    "--passphrase-file", "passphrase", type=Passphrase(), metavar="FILE",
    help="Of the key in --from or --root-dir: a file, or env:NAME.",
)  # fmt: skip
STATE_PASSPHRASE = click.option(
    "--state-passphrase-file", "state_passphrase", type=Passphrase(), metavar="FILE",
    help="Of the keys in --state-dir, as the control plane is given it: a file, or env:NAME.",
)  # fmt: skip


def _told(command: Callable[P, None]) -> Callable[P, None]:
    """What certificates have against it becomes the command's one line."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from certs.errors import CertificateError

        try:
            command(*args, **kwargs)
        except CertificateError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}") from error

    return run


@click.group()
def ca() -> None:
    """Make, look at, use and replace the certificate authority.

    \b
      weft ca show                 who signs, what is trusted, until when
      weft ca doctor               every certificate: what ends and breaks when
      weft ca rotate               a new root without an interruption
      weft ca init --from cacerts  begin with your own authority
      weft ca sign default/cart    a certificate by hand
    """


@ca.command(short_help="Make the authority, before the control plane starts.")
@STATE_DIR
@click.option("--trust-domain", default="cluster.local", show_default=True)
@SOURCE
@ROOT_DIR
@PASSPHRASE
@STATE_PASSPHRASE
@_told
def init(
    state_dir: Path,
    trust_domain: str,
    source: Path | None,
    root_dir: Path | None,
    passphrase: bytes | None,
    state_passphrase: bytes | None,
) -> None:
    """Make the authority of a state directory before its control plane starts.

    Without options it is a self-signed root that signs itself, as the control plane would make
    it. What is there already is never replaced. A key that comes encrypted stays encrypted, and the
    control plane needs its passphrase.

    \b
    Examples:
      weft ca init --state-dir state --from cacerts --trust-domain corp.example
      weft ca init --state-dir /var/lib/weft --root-dir /media/stick/root
    """
    from certs import cli

    _one_of(source, root_dir)
    click.echo(
        cli.init(
            state_dir,
            trust_domain,
            time.time(),
            source=source,
            root_dir=root_dir,
            passphrase=passphrase,
            state_passphrase=state_passphrase,
        )
    )


@ca.command(short_help="Issue a certificate by hand.")
@click.argument("identity")
@STATE_DIR
@click.option(
    "--csr", type=click.File("rb"), metavar="FILE", help="Sign this request (- is standard input)."
)
@click.option("--out", type=Path, metavar="DIR", help="Make a key, too, and put all into DIR.")
@click.option("--ttl", default="24h", show_default=True, type=Duration(), metavar="TIME")
@click.option(
    "--dns-name", "dns_names", multiple=True, metavar="NAME", help="For a server; with --out."
)
@click.option("--ip", "ip_addresses", multiple=True, metavar="IP", help="For a server; with --out.")
@STATE_PASSPHRASE
@_told
def sign(
    identity: str,
    state_dir: Path,
    csr: IO[bytes] | None,
    out: Path | None,
    ttl: float,
    dns_names: tuple[str, ...],
    ip_addresses: tuple[str, ...],
    state_passphrase: bytes | None,
) -> None:
    """Issue a certificate for IDENTITY: NAMESPACE/ACCOUNT or spiffe://...

    With --csr the chain goes to standard output. With --out a key is made, and DIR gets key.pem,
    cert-chain.pem and root-cert.pem. Either stands in the issue log.

    \b
    Examples:
      weft ca sign default/cart --out certs-of-cart
      weft ca sign default/cart --csr cart.csr --ttl 7d > cart.pem
    """
    from certs import cli

    now = time.time()
    if (csr is None) == (out is None):
        raise click.UsageError("give either --csr or --out")
    if out is not None:
        names = {"dns_names": dns_names, "ip_addresses": ip_addresses}
        secret = state_passphrase
        click.echo(cli.sign_new_key(state_dir, out, identity, ttl, now, passphrase=secret, **names))
        return
    if dns_names or ip_addresses:
        raise click.UsageError("--dns-name and --ip need --out: a CSR's sender gets its identity")
    assert csr is not None
    request = csr.read(1 << 20)
    chain = cli.sign_csr(state_dir, request, identity, ttl, now, state_passphrase)
    click.echo(chain, nl=False)


@ca.command(short_help="Show who signs, what is trusted and until when.")
@STATE_DIR
@STATE_PASSPHRASE
@TEXT_OR_JSON
@_told
def show(state_dir: Path, state_passphrase: bytes | None, output: TextOrJson) -> None:
    """Show who signs, what is trusted and until when.

    --state-dir may also be an authority's folder (ca-cert.pem ..., or tls.crt ...).

    \b
    Example:
      weft ca show --state-dir .weft
    """
    from certs import cli

    if output == "json":
        click.echo(cli.show_json(state_dir, state_passphrase))
    else:
        click.echo(cli.show(state_dir, time.time(), state_passphrase))


@ca.command(short_help="Look at every certificate: what ends when, what breaks then.")
@STATE_DIR
@STATE_PASSPHRASE
@TEXT_OR_JSON
@_told
def doctor(state_dir: Path, state_passphrase: bytes | None, output: TextOrJson) -> None:
    """Look at every certificate, key and bundle; exit code 1 if there is something to do.

    It says of each when it ends, what depends on it and what breaks then, and warns when a third
    of its life is left. --state-dir may also be an authority's or a workload's folder.

    While a control plane runs on --state-dir it looks at the whole mesh: what each proxy serves,
    whom it trusts, and how far its clock is from the control plane's.

    \b
    Examples:
      weft ca doctor
      weft ca doctor --state-dir /etc/cacerts -o json
    """
    from certs import cli
    from certs.doctor import Severity, examine, report

    now = time.time()
    findings = examine(state_dir, now, state_passphrase)
    ill = any(found.severity is not Severity.OK for found in findings)
    on_disk = cli.findings_json(findings) if output == "json" else report(findings, now)
    runs = _control_plane_runs(state_dir)
    if output == "text" or not runs:
        click.echo(on_disk)
    if runs:
        from weft import doctor_online

        mesh = doctor_online.ask(state_dir)
        ill = ill or doctor_online.bad(mesh)
        if output == "json":
            click.echo(doctor_online.as_json(on_disk, mesh))
        else:
            click.echo(f"\nIn the mesh:\n\n{doctor_online.report(mesh)}")
    sys.exit(ill)


@ca.command(short_help="Replace the authority without an interruption.")
@STATE_DIR
@SOURCE
@ROOT_DIR
@PASSPHRASE
@STATE_PASSPHRASE
@click.option("--rehearse", is_flag=True, help="Let every proxy try the new chain; change nothing.")
@click.option("--without", multiple=True, metavar="NODE", help="Wait for this proxy no longer.")
@click.option("--abort", is_flag=True, help="Give the rotation under way up.")
@click.option("--status", is_flag=True, help="Say what is being waited for.")
@click.option(
    "--step", type=click.Choice(["prepare", "issue", "retire"]),
    help="With no control plane running: do one step by hand.",
)  # fmt: skip
@click.option("--acknowledged", is_flag=True, help="With --step retire: every proxy has renewed.")
@_told
def rotate(
    state_dir: Path,
    source: Path | None,
    root_dir: Path | None,
    passphrase: bytes | None,
    state_passphrase: bytes | None,
    rehearse: bool,
    without: tuple[str, ...],
    abort: bool,
    status: bool,
    step: str | None,
    acknowledged: bool,
) -> None:
    """Replace the authority: trust both, issue from the new, retire the old.

    A running control plane does it all and waits at each step for every proxy. Without one, stage
    and do the steps by hand: --step prepare, --step issue, --step retire. A rotation that was
    interrupted goes on. The new authority is a new root unless --from or --root-dir say otherwise.

    \b
    Examples:
      weft ca rotate --rehearse
      weft ca rotate
      weft ca rotate --root-dir /media/stick/root     another intermediate of it
    """
    secrets = _Passphrases(passphrase, state_passphrase)
    what = _Rotation(state_dir, source, root_dir, secrets, abort, status, rehearse)
    what.check(step)
    if not _control_plane_runs(state_dir):
        click.echo(what.offline(step, acknowledged))
    elif step:
        raise UserError(
            f"a control plane uses {state_dir} and takes the steps itself: leave --step out"
        )
    else:
        sys.exit(what.online(without))


@dataclass(frozen=True, slots=True, repr=False)
class _Passphrases:
    """source: of --from or --root-dir. state: of --state-dir."""

    source: bytes | None
    state: bytes | None


@dataclass(frozen=True, slots=True)
class _Rotation:
    """The options of `rotate`."""

    state_dir: Path
    source: Path | None
    root_dir: Path | None
    secrets: _Passphrases
    abort: bool
    status: bool
    rehearse: bool

    def check(self, step: str | None) -> None:
        _one_of(self.source, self.root_dir)
        if [self.abort, self.status, self.rehearse, step is not None].count(True) > 1:
            raise click.UsageError("--abort, --status, --rehearse and --step exclude each other")

    def online(self, without: tuple[str, ...]) -> int:
        """The running control plane does it; answers the exit code."""
        from certs import cli
        from weft.rotate_online import abort_online, rotate_online, status_online

        if self.status:
            return status_online(self.state_dir)
        if self.abort:
            return abort_online(self.state_dir, cli.target_of(self.state_dir))
        target = self._stage()
        return rotate_online(self.state_dir, target, rehearse=self.rehearse, without=without)

    def offline(self, step: str | None, acknowledged: bool) -> str:
        """By hand; answers what is next."""
        from certs import cli

        if self.rehearse:
            raise UserError(
                f"no control plane runs on {self.state_dir}: there is nobody to rehearse with"
            )
        if self.abort or step:
            now = time.time()
            return cli.step(
                *(self.state_dir, step or "abort", now),
                acknowledged=acknowledged,
                passphrase=self.secrets.state,
            )
        if not self.status:
            self._stage()
        return cli.status(self.state_dir, self.secrets.state)

    def _stage(self) -> str:
        from certs import cli

        secrets = (self.secrets.source, self.secrets.state)
        return cli.stage(self.state_dir, time.time(), self.source, self.root_dir, *secrets)


@ca.command(short_help="Refuse a certificate or an identity everywhere.")
@click.argument("what", required=False)
@STATE_DIR
@click.option("--undo", is_flag=True, help="Take WHAT from the list again.")
@click.option("--reason", default="", help="For the log and for whoever is refused.")
@click.option(
    "--crl", type=Path, metavar="FILE",
    help="Put the revocation lists of FILE (PEM) in the place of those that came with --from.",
)  # fmt: skip
@STATE_PASSPHRASE
@_told
def revoke(
    what: str | None,
    state_dir: Path,
    undo: bool,
    reason: str,
    crl: Path | None,
    state_passphrase: bytes | None,
) -> None:
    """Refuse a certificate (its serial number in hex) or an identity (spiffe://...) everywhere.

    The running control plane tells every proxy within seconds; connections of it end. Without
    WHAT it lists what is refused. --crl takes the lists that the issuers above your own authority
    make; an empty FILE drops them.

    \b
    Examples:
      weft ca revoke 1f2e3d --reason "key was in a public bucket"
      weft ca revoke spiffe://cluster.local/ns/default/sa/cart
      weft ca revoke --crl ca-crl.pem
    """
    from weft.rotate_online import revocations_online, revoke_online

    if crl is not None:
        if what is not None or undo:
            raise click.UsageError("--crl excludes WHAT and --undo")
        _relist(state_dir, crl, state_passphrase)
        return

    if what is None:
        sys.exit(revocations_online(state_dir))
    sys.exit(revoke_online(state_dir, what, reason, restore=undo))


def _relist(state_dir: Path, path: Path, passphrase: bytes | None) -> None:
    from certs import cli
    from certs.files import read_public
    from weft.rotate_online import relist_online

    pem = read_public(path)
    if _control_plane_runs(state_dir):
        sys.exit(relist_online(state_dir, pem))
    click.echo(cli.relist(state_dir, pem, str(path), time.time(), passphrase))


def _one_of(source: Path | None, root_dir: Path | None) -> None:
    if source is not None and root_dir is not None:
        raise click.UsageError("--from and --root-dir exclude each other")


def _control_plane_runs(state_dir: Path) -> bool:
    """Its lock ends with the process, however that ends: no leftover file can mislead."""
    try:
        with (state_dir / _CONTROL_PLANE_LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # no lock, no control plane
    return False
