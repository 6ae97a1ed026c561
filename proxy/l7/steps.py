"""The three answers of a step on the way of a request (nginx's phase handlers, Envoy's filters).

A stream walks its route's steps by index: `None` goes on, a `Reply` answers, `WAIT` stops until
somebody calls `resume`. The last step is the router, which never answers None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.l7.reply import Reply

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


class Wait:
    """The type of WAIT."""


WAIT: Final = Wait()
Answer = Reply | Wait | None
Step = Callable[["Stream"], Answer]
