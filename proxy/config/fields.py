"""Which fields of Envoy's messages Weft reads: nothing that is set is ever ignored in silence.

The rows stand in `fields_*`, by subject; this module joins them and holds a message against them.
A field is honoured, or without effect by design (with a reason), or accepted with one value only;
every other field that is set is refused by name. Unknown field numbers are accepted, as Envoy
accepts them in dynamic resources. `Any` is not opened here: whoever unpacks it checks the inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from proxy.config.field_rules import Fields, Table
from proxy.config.fields_auth import AUTH
from proxy.config.fields_clusters import CLUSTERS
from proxy.config.fields_common import COMMON
from proxy.config.fields_discovery import DISCOVERY
from proxy.config.fields_filters import FILTERS
from proxy.config.fields_lb import LB
from proxy.config.fields_listeners import LISTENERS
from proxy.config.fields_logs import LOGS
from proxy.config.fields_policy import POLICY
from proxy.config.fields_retry import RETRY
from proxy.config.fields_routes import ROUTES
from proxy.config.fields_server import SERVER
from proxy.config.fields_tracing import TRACING
from proxy.config.pgv import LEAVES, WRAPPERS
from proxy.config.rejected import Rejected

FIELDS: Table = {
    **COMMON,
    **SERVER,
    **LISTENERS,
    **ROUTES,
    **RETRY,
    **CLUSTERS,
    **LB,
    **DISCOVERY,
    **FILTERS,
    **LOGS,
    **POLICY,
    **AUTH,
    **TRACING,
}
UNSUPPORTED = "not supported by this version of Weft"
# Unset is not the same as empty for these, so an empty one is refused like a filled one.
MEANS_SOMETHING_EMPTY = frozenset(
    {
        "envoy.config.route.v3.RouteAction.internal_redirect_policy",
        "envoy.config.core.v3.Http2ProtocolOptions.connection_keepalive",
        "envoy.config.listener.v3.Listener.udp_listener_config",
        "envoy.config.listener.v3.Listener.api_listener",
    }
)
_Walk = Callable[[Any], None]
"""Looks at the value of a field that is set; Rejected has a path below that value."""


def check(message: Message, path: str = "") -> None:
    """Raises Rejected at the first set field, depth first, that the table does not allow."""
    try:
        _check(message)
    except Rejected as error:
        raise error.below(path) from None


def _check(message: Message) -> None:
    walks = _walks(message.DESCRIPTOR)
    for field, value in message.ListFields():
        if (walk := walks[field.number]) is not None:
            try:
                walk(value)
            except Rejected as error:
                raise error.below(field.name) from None


@cache
def _walks(descriptor: Descriptor) -> Mapping[int, _Walk | None]:
    """What to do with each field of a type when it is set, by number; None: nothing."""
    row = FIELDS.get(descriptor.full_name)
    if row is None:
        raise LookupError(f"no row for {descriptor.full_name} in proxy.config.fields")
    honoured = frozenset(row.honoured.split())
    return {each.number: _walk(each, row, honoured) for each in descriptor.fields}


def _walk(field: FieldDescriptor, row: Fields, honoured: frozenset[str]) -> _Walk | None:
    if field.name in honoured:
        return _descend(field)
    if field.name in row.no_effect:
        return None
    if field.name in row.only:
        return _only(row.only[field.name])
    if _may_be_empty(field):
        return _refuse_unless_empty
    return _refuse


def _may_be_empty(field: FieldDescriptor) -> bool:
    """Whether an empty message in this field says no more than leaving it out."""
    kind = field.message_type
    return (
        kind is not None
        and not field.is_repeated
        and field.containing_oneof is None
        and kind.full_name not in LEAVES
        and field.full_name not in MEANS_SOMETHING_EMPTY
    )


def _refuse(value: Any) -> None:
    raise Rejected("", UNSUPPORTED)


def _refuse_unless_empty(value: Any) -> None:
    if value.ByteSize():
        raise Rejected("", UNSUPPORTED)


def _only(wanted: object) -> _Walk:
    shown = str(wanted).lower() if isinstance(wanted, bool) else wanted

    def walk(value: Any) -> None:
        if _plain(value) != wanted:
            raise Rejected("", f"{UNSUPPORTED} with another value than {shown}")

    return walk


def _plain(value: Any) -> object:
    if not isinstance(value, Message):
        return value
    kind = value.DESCRIPTOR.full_name
    if kind == "google.protobuf.Duration":
        duration: Any = value
        return duration.seconds + duration.nanos / 1e9
    wrapper: Any = value
    return wrapper.value if kind in WRAPPERS else value


def _descend(field: FieldDescriptor) -> _Walk | None:
    kind = field.message_type
    if kind is None or kind.full_name in LEAVES:
        return None
    if kind.GetOptions().map_entry:
        of_values = kind.fields_by_name["value"].message_type
        return None if of_values is None or of_values.full_name in LEAVES else _each_of_map
    return _each if field.is_repeated else _check


def _each(values: Any) -> None:
    for index, value in enumerate(values):
        try:
            _check(value)
        except Rejected as error:
            raise error.below(f"[{index}]") from None


def _each_of_map(values: Any) -> None:
    for key, value in values.items():
        try:
            _check(value)
        except Rejected as error:
            raise error.below(f"[{key}]") from None
