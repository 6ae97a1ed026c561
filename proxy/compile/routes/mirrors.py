"""Mirror policies into what decides, for each request, who gets a copy of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy import match
from proxy.compile.edits import edit_by_steps
from proxy.compile.routes.place import RouteContext
from proxy.config.model import MirrorPolicy
from proxy.l7.mirror import Mirror
from proxy.l7.stream import Stream
from proxy.upstream.cluster import Cluster


def mirrors(policies: Sequence[MirrorPolicy], context: RouteContext) -> tuple[Mirror, ...]:
    return tuple([_mirror(policy, context) for policy in policies])


def _mirror(policy: MirrorPolicy, context: RouteContext) -> Mirror:
    fraction = policy.fraction
    wanted: Callable[[], bool] = lambda: True  # noqa: E731
    if fraction is not None:
        wanted = match.fraction(fraction, context.random, context.runtime)
    return Mirror(
        wanted=wanted,
        choose=_chooser(policy, context),
        edit=edit_by_steps(policy.mutations),
        host=policy.host_rewrite.encode(),
        keeps_host=policy.keeps_host,
    )


def _chooser(policy: MirrorPolicy, context: RouteContext) -> Callable[[Stream], Cluster | None]:
    get = context.clusters.get
    if not policy.cluster_header:
        name = policy.cluster
        return lambda _: get(name)
    values_of = match.request_values(policy.cluster_header.encode())

    def by_header(stream: Stream) -> Cluster | None:
        values = values_of(stream.request)
        return get(values[0].decode("latin-1")) if values else None

    return by_header
