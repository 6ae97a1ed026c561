"""`weft completion`: what a shell reads to complete our words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_WEFT_COMPLETE"
"""Where the shell's function says that it wants words; click reads it."""


@click.command(short_help="Print what makes a shell complete our words.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script for SHELL by which it completes commands and options.

    \b
    Examples:
      source <(weft completion bash)          now; in ~/.bashrc: always
      source <(weft completion zsh)
      weft completion fish > ~/.config/fish/completions/weft.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # one of SHELLS
    click.echo(found(ctx.find_root().command, {}, "weft", VARIABLE).source())
