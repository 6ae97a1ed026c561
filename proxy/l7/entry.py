"""A route at run time: whom it asks, and what it does to request and answer on the way.

Made by `compile`; everything that depends only on configuration is already decided. `answer` is
set for routes that answer by themselves (redirect, direct response).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.filters.api import Reply
from proxy.http.message import Response
from proxy.l7.stream import Stream
from proxy.upstream.cluster import Cluster
from proxy.upstream.retry import RetryRule


@dataclass(slots=True, eq=False)
class RouteEntry:
    """choose: the cluster of this request, None if it does not exist. rewrite: edits the request
    before its first attempt. before_send: before each attempt. edit_response: edits an answer that
    came by this route, our own ones too. timeout_s, per_try_timeout_s: 0 is none. hedges: a slow
    attempt goes on beside a new one.
    tells_timeout_retry: each retry says whether a timeout was the reason. tells_time: answers carry
    the upstream's time."""

    name: str
    answer: Callable[[Stream], Reply] | None
    choose: Callable[[Stream], Cluster | None]
    rewrite: Callable[[Stream], None]
    before_send: Callable[[Stream], None] | None = None
    edit_response: Callable[[Stream, Response], None] | None = None
    not_found_status: int = 503
    priority: str = "DEFAULT"
    timeout_s: float = 15.0
    per_try_timeout_s: float = 0.0
    idle_timeout_s: float | None = None
    retry: RetryRule | None = None
    tells_time: bool = True
    hedges: bool = False
    tells_timeout_retry: bool = False
    virtual_host: str = ""
    cluster_name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    upgrades: Mapping[bytes, bool] = field(default_factory=dict)
