"""How one message type's fields are treated: the row of the table that `fields` checks by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from protos.frozen import frozen


@frozen
class Fields:
    """The fields of one message type. A name that is not mentioned is refused when it is set.

    honoured: names, separated by blanks.
    no_effect: name -> why it changes nothing, one sentence for the user.
    only: name -> the one value accepted, because Weft does that anyway; a wrapper's value,
        seconds of a duration.
    """

    honoured: str = ""
    no_effect: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, object] = field(default_factory=dict)


Table = Mapping[str, Fields]
"""By the full name of the message type."""
