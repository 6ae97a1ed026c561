"""What can be wrong with a message. Raised by codecs only, and caught in one place: the connection.

`status` and `detail` are Envoy's for the same fault (its `response_code_details`), so that logs of
the two can be read side by side.
"""

from __future__ import annotations


class Malformed(Exception):
    """A peer broke the protocol; the connection can't be used any more.

    status: what to answer if the peer is a client (0: just close). detail: Envoy's word for it."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
