"""What ends a start."""

from __future__ import annotations


class StartError(Exception):
    """Why it cannot serve; the message is for the user."""
