"""What a proxy can be asked to do beside forwarding: each is one edit of the benchmark's bootstrap.

Envoy and Weft get the same edited bootstrap, so a row says what the feature costs each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Yaml = dict[str, Any]
VHOSTS = 50
EXTENSION = "type.googleapis.com/envoy.extensions."


@dataclass(frozen=True, slots=True)
class Parts:
    """The messages of the bootstrap that a feature may edit in place. log_path: a log file."""

    manager: Yaml
    cluster: Yaml
    log_path: str

    @property
    def virtual_hosts(self) -> list[Yaml]:
        hosts: list[Yaml] = self.manager["route_config"]["virtual_hosts"]
        return hosts

    @property
    def action(self) -> Yaml:
        action: Yaml = self.virtual_hosts[0]["routes"][0]["route"]
        return action

    def add_filter(self, name: str, type_name: str, config: Yaml) -> None:
        """Before the router, in the order of the calls."""
        typed = {"@type": EXTENSION + type_name, **config}
        self.manager["http_filters"].insert(-1, {"name": name, "typed_config": typed})


def router_only(_: Parts) -> None:
    """Nothing but forwarding."""


def http2(parts: Parts) -> None:
    """The upstream is spoken to in HTTP/2."""
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options: Yaml = {"explicit_http_config": {"http2_protocol_options": {}}}
    typed = {"@type": f"type.googleapis.com/{name}", **options}
    parts.cluster["typed_extension_protocol_options"] = {name: typed}


def rbac(parts: Parts) -> None:
    """Three policies; the second one allows, so the first is looked at in vain."""
    paths = ("/admin", "/catalogue", "/basket")
    policies = {
        path.strip("/"): {
            "permissions": [{"url_path": {"path": {"prefix": path}}}],
            "principals": [{"header": {"name": "x-tenant", "string_match": {"exact": "acme"}}}],
        }
        for path in paths
    }
    rules = {"rules": {"action": "ALLOW", "policies": policies}}
    parts.add_filter("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", rules)


def fault(parts: Parts) -> None:
    """For one request in a million, but asked for every one."""
    percentage = {"numerator": 1, "denominator": "MILLION"}
    abort = {"abort": {"http_status": 503, "percentage": percentage}}
    parts.add_filter("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault", abort)


def cors(parts: Parts) -> None:
    """A policy on the virtual host; the load sends the Origin it allows."""
    parts.add_filter("envoy.filters.http.cors", "filters.http.cors.v3.Cors", {})
    policy = {
        "@type": EXTENSION + "filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": "https://shop.test"}, {"suffix": ".acme.test"}],
        "allow_methods": "GET, POST",
        "expose_headers": "x-served-by",
    }
    parts.virtual_hosts[0]["typed_per_filter_config"] = {"envoy.filters.http.cors": policy}


def json_log(parts: Parts) -> None:
    """Istio's default fields as JSON, to a file."""
    operators = (
        "START_TIME", "REQ(:METHOD)", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "PROTOCOL",
        "RESPONSE_CODE", "RESPONSE_FLAGS", "RESPONSE_CODE_DETAILS",
        "CONNECTION_TERMINATION_DETAILS", "UPSTREAM_TRANSPORT_FAILURE_REASON", "BYTES_RECEIVED",
        "BYTES_SENT", "DURATION", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "REQ(X-FORWARDED-FOR)",
        "REQ(USER-AGENT)", "REQ(X-REQUEST-ID)", "REQ(:AUTHORITY)", "UPSTREAM_HOST",
        "UPSTREAM_CLUSTER", "UPSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS", "REQUESTED_SERVER_NAME", "ROUTE_NAME",
    )  # fmt: skip
    fields = {name.lower().strip("()").replace("(", "_"): f"%{name}%" for name in operators}
    config = {
        "@type": EXTENSION + "access_loggers.file.v3.FileAccessLog",
        "path": parts.log_path,
        "log_format": {"json_format": fields},
    }
    parts.manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": config}]


def retries(parts: Parts) -> None:
    """A policy as Istio sends it; nothing fails, so this is the price of being ready."""
    parts.action["retry_policy"] = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retriable_status_codes": [503],
        "host_selection_retry_max_attempts": "5",
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": EXTENSION + "retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
    }


def outlier(parts: Parts) -> None:
    parts.cluster["outlier_detection"] = {
        "consecutive_5xx": 5,
        "interval": "1s",
        "enforcing_success_rate": 100,
        "enforcing_failure_percentage": 100,
    }


def vhosts(parts: Parts) -> None:
    """50 like the first, of five routes each; the load asks for all of them in turn."""
    paths = ("/admin", "/basket", "/orders", "/users", "/")
    routes = [{"match": {"prefix": path}, "route": parts.action} for path in paths]
    like = parts.virtual_hosts[0]
    parts.virtual_hosts[:0] = [
        {**like, "name": f"shop-{number}", "domains": [f"shop-{number}.test"], "routes": routes}
        for number in range(VHOSTS)
    ]


FEATURES: dict[str, Callable[[Parts], None]] = {
    "router": router_only,
    "rbac": rbac,
    "fault": fault,
    "cors": cors,
    "json-log": json_log,
    "retries": retries,
    "outlier": outlier,
    "vhosts": vhosts,
}


def all_of_them(parts: Parts) -> None:
    """What a sidecar of a mesh has on at the same time. Virtual hosts last: they are copies."""
    for feature in FEATURES.values():
        feature(parts)


ALL = {**FEATURES, "all": all_of_them, "http2": http2}
