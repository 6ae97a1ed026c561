"""What lets a proxy explain a denial: where each rule was written, beside the rules themselves.

It travels as an optional audit logger of Envoy's RBAC, and of tokens in the metadata of a filter
chain, which a real Envoy ignores and Weft's proxy reads: the rule's position goes into its log and
admin, and where the mesh allows it into the 403 or 401.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from xds.type.v3.typed_struct_pb2 import TypedStruct

from controlplane.emit.jwt import provider_names
from controlplane.emit.words import packed
from controlplane.mesh.policy import AccessPolicy, TokenRule

LOGGER = "weft.explain"
"""The name of the logger, and the namespace of the metadata."""

TYPE_URL = "type.googleapis.com/weft.rbac.Explain"
MAX_NAMED = 5
"""Policies that are named when none of them applies."""


def explain(
    rules: RBAC, policies: Sequence[AccessPolicy], in_body: bool, named: Callable[[str], str]
) -> None:
    """Adds the positions of the rules of `policies`. in_body: the 403 may name them. named: what a
    rule is called in `rules`."""
    sources = {
        named(policy.rule_name(rule.index)): str(rule.position)
        for policy in policies
        for rule in policy.rules
    }
    told = TypedStruct(type_url=TYPE_URL)
    told.value.update({"body": in_body, "sources": sources, "none": _none(policies)})
    logger = RBAC.AuditLoggingOptions.AuditLoggerConfig(
        audit_logger=TypedExtensionConfig(name=LOGGER, typed_config=packed(told)),
        is_optional=True,
    )
    rules.audit_logging_options.logger_configs.append(logger)


def of_tokens(rules: Sequence[TokenRule], in_body: bool) -> Metadata:
    """For the filter chain: which policy each provider of the jwt_authn filter is, and where."""
    metadata = Metadata()
    if rules:
        named = provider_names(rules).items()
        tokens = {name: [rule.name, str(rule.position)] for name, rule in named}
        metadata.filter_metadata[LOGGER].update({"body": in_body, "tokens": tokens})
    return metadata


def _none(policies: Iterable[AccessPolicy]) -> str:
    """What to say when none of the ALLOW policies applies."""
    allowing = [p for p in policies if p.action == "ALLOW"]
    if not allowing:
        return ""
    named = [f"{p.namespace}/{p.name} ({p.position})" for p in allowing[:MAX_NAMED]]
    more = len(allowing) - len(named)
    return f"no ALLOW policy applies: {', '.join(named)}" + (f" and {more} more" if more else "")
