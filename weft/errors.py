"""What a user is told when something is wrong: one line that says what, where and what to do.

Raised anywhere in the front door, caught in one place: `cli.main`.
"""

from __future__ import annotations


class UserError(Exception):
    """Its text is the whole message; `cli.main` prints it after `weft: error: ` and exits 1."""
