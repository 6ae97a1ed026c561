"""Values of EnvoyFilter's patches: JSON read as Envoy's messages, and how they are merged.

A value that is not Envoy's message is told (`faults`), and its patch left out.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence
from functools import lru_cache
from typing import Any, TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf import json_format, symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from controlplane.mesh.model import Status
from controlplane.mesh.patches import EnvoyPatch

M = TypeVar("M", bound=Message)

_TYPES: Mapping[str, Callable[[], Message]] = {
    "LISTENER": Listener,
    "FILTER_CHAIN": FilterChain,
    "LISTENER_FILTER": ListenerFilter,
    "NETWORK_FILTER": Filter,
    "HTTP_FILTER": hcm_pb2.HttpFilter,
    "ROUTE_CONFIGURATION": RouteConfiguration,
    "VIRTUAL_HOST": VirtualHost,
    "HTTP_ROUTE": Route,
    "CLUSTER": Cluster,
    "EXTENSION_CONFIG": TypedExtensionConfig,
}
_PACKAGE = re.compile(r"(?:envoy|udpa|xds)(?:\.[a-z0-9_]+)+")
_TYPE_URL = re.compile(r"type\.googleapis\.com/([a-z0-9_.]+)\.[A-Za-z0-9_]+")


def faults(patches: Iterable[EnvoyPatch]) -> tuple[Status, ...]:
    """What is wrong with values, as Envoy's API sees them."""
    return tuple(
        Status(
            patch.position,
            "error",
            "InvalidPatch",
            patch.object,
            f"{patch.path}.patch.value: {fault}",
        )
        for patch in patches
        if (fault := _read(patch.apply_to, patch.value)[1])
    )


def value_of(patch: EnvoyPatch) -> Message | None:
    """None: it has none, or a wrong one."""
    return _read(patch.apply_to, patch.value)[0]


@lru_cache(maxsize=4096)
def _read(apply_to: str, value: str) -> tuple[Message | None, str]:
    """The message, or why there is none."""
    if not value:
        return None, ""
    tree = json.loads(value)
    for package in set(_packages(tree)):
        _know(package)
    try:
        return json_format.ParseDict(tree, _TYPES[apply_to]()), ""
    except Exception as error:
        # Not only a ParseError: a number as "@type", for one, is an AttributeError.
        return None, str(error) or type(error).__name__


def clusters_in(patch: EnvoyPatch) -> frozenset[str]:
    """Those that the value names, which nobody but the user knows to be there."""
    return frozenset(_clusters(json.loads(patch.value))) if patch.value else frozenset()


def extensions(patches: Iterable[EnvoyPatch]) -> Mapping[str, AnyMessage]:
    """Configurations of filters that are added by name."""
    found: dict[str, AnyMessage] = {}
    for patch in patches:
        if patch.apply_to == "EXTENSION_CONFIG":
            value = value_of(patch)
            if isinstance(value, TypedExtensionConfig):
                found[value.name] = value.typed_config
    return found


def _clusters(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, item in tree.items():
            if key in ("cluster", "name") and isinstance(item, str):
                yield item
            else:
                yield from _clusters(item)
    elif isinstance(tree, list):
        for item in tree:
            yield from _clusters(item)


def _packages(tree: Any) -> Iterator[str]:
    """Of the messages that `@type` names."""
    if isinstance(tree, dict):
        found = _TYPE_URL.fullmatch(str(tree.get("@type", "")))
        if found and _PACKAGE.fullmatch(found.group(1)):
            yield found.group(1)
        for item in tree.values():
            yield from _packages(item)
    elif isinstance(tree, list):
        for item in tree:
            yield from _packages(item)


def _know(package: str) -> None:
    """Loads the messages of one of Envoy's packages, if there is such a one."""
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError:
        return
    for module in pkgutil.iter_modules(found.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")


# --------------------------------------------------------------------------- operations


def change(items: MutableSequence[Any], patch: EnvoyPatch, is_meant: Callable[[Any], bool]) -> None:
    """One operation on a list. INSERT_* stand beside the first that is meant, and at the ends
    where no one is named. What is merged is another message afterwards."""
    value = value_of(patch)
    found = [index for index, one in enumerate(items) if is_meant(one)]
    operation = patch.operation
    if operation == "REMOVE":
        for index in reversed(found):
            del items[index]
    elif operation in ("MERGE", "MERGE_AND_REPLACE_LIST"):
        for index in found:
            _merge_at(items, index, patch)
    elif operation == "CLEAR":
        for index in found:
            _clear_at(items, index, value)
    elif operation == "REPLACE":
        for index in found:
            items[index].CopyFrom(value)
    elif operation == "ADD":
        items.append(value)
    elif operation == "INSERT_FIRST":
        items.insert(0, value)
    elif found:
        items.insert(found[0] + (operation == "INSERT_AFTER"), value)


def _merge_at(items: MutableSequence[Any], index: int, patch: EnvoyPatch) -> None:
    """In a list of ours the message may be somebody else's, too."""
    if isinstance(items, list):
        items[index] = copied(items[index])
    merge_if_asked(items[index], patch)


def _clear_at(items: MutableSequence[Any], index: int, value: Any) -> None:
    if isinstance(items, list):
        items[index] = copied(items[index])
    for descriptor, _ in value.ListFields():
        items[index].ClearField(descriptor.name)


def merge_if_asked(target: Message, patch: EnvoyPatch) -> None:
    """What is set in the value counts; lists are joined (or replaced), and a packed message of the
    same type is merged inside."""
    value = value_of(patch)
    if value is not None and patch.operation.startswith("MERGE"):
        merge(target, value, patch.operation == "MERGE_AND_REPLACE_LIST")


def copied(message: M) -> M:
    made = type(message)()
    made.CopyFrom(message)
    return made


# --------------------------------------------------------------------------- merging

_PLAIN_VALUES = "google.protobuf."
"""Durations and wrapped numbers are values: nothing of the old one stays (Istio)."""


def merge(target: Message, value: Message, replace_lists: bool) -> None:
    if isinstance(target, AnyMessage) and isinstance(value, AnyMessage):
        _merge_packed(target, value, replace_lists)
        return
    for descriptor, given in value.ListFields():
        name = descriptor.name
        if descriptor.is_repeated:
            if replace_lists:
                target.ClearField(name)
            part = type(value)()
            getattr(part, name).MergeFrom(given)
            target.MergeFrom(part)
        elif descriptor.message_type is not None and _is_value(descriptor.message_type.full_name):
            getattr(target, name).CopyFrom(given)
        elif descriptor.message_type is not None:
            getattr(target, name).SetInParent()
            merge(getattr(target, name), given, replace_lists)
        else:
            setattr(target, name, given)


def _is_value(name: str) -> bool:
    return name.startswith(_PLAIN_VALUES) and not name.endswith((".Any", ".Struct"))


def _merge_packed(target: AnyMessage, value: AnyMessage, replace_lists: bool) -> None:
    if target.type_url != value.type_url:
        target.CopyFrom(value)
        return
    try:
        ours, theirs = _unpacked(target), _unpacked(value)
    except KeyError:
        target.CopyFrom(value)
        return
    merge(ours, theirs, replace_lists)
    target.Pack(ours, deterministic=True)


def _unpacked(packed: AnyMessage) -> Message:
    """KeyError: of a type that nobody knows."""
    made: Message = symbol_database.Default().GetSymbol(packed.TypeName())()
    packed.Unpack(made)
    return made
