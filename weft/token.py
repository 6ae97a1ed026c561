"""`weft token`: join tokens, by which a workload proves once who it is.

Only the commands; the calls are `weft.management`'s.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from weft.durations import Duration
from weft.errors import UserError
from weft.management import Management
from weft.objects import STATE_DIR, asked
from weft.output import TEXT_OR_JSON, TextOrJson, table
from weft.view import TokenFacts

HEADING = ("ID", "IDENTITY", "USE", "EXPIRES")
SHOWN_DIGITS = 12
_identity = re.compile(r"([^/]+)/([^/]+)").fullmatch
_id = re.compile(r"[0-9a-f]{8,64}").fullmatch


@click.group(short_help="Make, list and delete join tokens.")
def token() -> None:
    """Make, list and delete join tokens, by which a workload proves who it is.

    \b
      weft token create shop/cart              for one certificate, within an hour
      weft token create shop/cart --reusable   for a plain Envoy, on each stream
      weft token list
      weft token delete 3f1c09a2b7d4
    """


@token.command(short_help="Make a token for a service account, and print it.")
@click.argument("workload", metavar="NAMESPACE/ACCOUNT")
@click.option(
    "--ttl", type=Duration(), default="1h", show_default=True, help="How long: 90s, 45m, 24h, 7d."
)
@click.option(
    "--reusable", is_flag=True, help="Not only once: for a client without an agent, as Envoy."
)
@TEXT_OR_JSON
@STATE_DIR
def create(workload: str, ttl: float, reusable: bool, output: TextOrJson, state_dir: Path) -> None:
    """Make a token for the service account ACCOUNT of NAMESPACE, and print it.

    Whoever has it is that workload: give it to nobody else, and in no command line.

    \b
    Examples:
      weft token create default/messenger > token
      weft token create shop/cart --reusable --ttl 7d -o json
    """
    found = _identity(workload)
    if found is None:
        raise click.UsageError(f"{workload!r} is not NAMESPACE/ACCOUNT, e.g. default/messenger")

    async def make(management: Management) -> TokenFacts:
        return await management.create_token(found[1], found[2], ttl_s=ttl, reusable=reusable)

    made = asked(state_dir, make)
    if made.ends_at < time.time() + ttl - 60:
        click.echo(f"weft: its end is {_time(made.ends_at)}: no token lives longer", err=True)
    click.echo(json.dumps(_told(made), indent=2) if output == "json" else made.token)


@token.command(name="list", short_help="Show the tokens that are not over.")
@TEXT_OR_JSON
@STATE_DIR
def list_(output: TextOrJson, state_dir: Path) -> None:
    """Show the tokens that are not over; the secrets themselves are nowhere."""
    found = asked(state_dir, lambda management: management.tokens())
    if output == "json":
        click.echo(json.dumps([_told(one) for one in found], indent=2))
        return
    table(HEADING, map(_row, found), "no join tokens")


@token.command()
@click.argument("which", metavar="ID|TOKEN")
@STATE_DIR
def delete(which: str, state_dir: Path) -> None:
    """Delete a token: it proves nothing from now on.

    What it has proven stays: certificates that were given for it, and streams that are open. To
    refuse those, too: weft ca revoke IDENTITY.
    """
    digest = which if _id(which) else hashlib.sha256(which.encode()).hexdigest()
    if not asked(state_dir, lambda management: management.delete_token(digest)):
        raise UserError("there is no such join token: weft token list shows those that there are")
    click.echo(f"{digest[:SHOWN_DIGITS]} deleted")
    sys.exit(0)


def _row(one: TokenFacts) -> tuple[str, ...]:
    use = "any number of times" if one.reusable else "spent" if one.spent else "once"
    return one.id[:SHOWN_DIGITS], one.identity, use, _time(one.ends_at)


def _told(one: TokenFacts) -> dict[str, object]:
    found: dict[str, object] = {**asdict(one), "expires_at": _time(one.ends_at)}
    del found["ends_at"]
    if not one.token:
        del found["token"]
    return found


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
