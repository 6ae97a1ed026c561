"""Decides by rules of access control who may do what: pure, for requests and for connections.

Rules become closures once; a decision walks the policies in the order of their names and the first
that applies is the one that is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Protocol

from proxy import match
from proxy.config.model import CidrRange, StringMatcher, rbac
from proxy.connection import ConnectionInfo
from proxy.http.message import Request
from proxy.http.uri_template import parse_template

Address = tuple[str, int]


class RouteMetadata(Protocol):
    @property
    def metadata(self) -> Mapping[str, Any]: ...


class Subject(Protocol):
    """What the rules may ask about. remote: the client as far as `x-forwarded-for` is trusted.
    Of a connection without a request, `request` is an empty one."""

    @property
    def request(self) -> Request: ...
    @property
    def info(self) -> ConnectionInfo: ...
    @property
    def remote(self) -> Address: ...
    @property
    def metadata(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def filter_state(self) -> Mapping[str, Any]: ...
    @property
    def route(self) -> RouteMetadata | None: ...


Test = Callable[[Subject], bool]


class Engine:
    """Envoy's `RBAC`. action LOG never denies. hints: the log is told what was pointed out."""

    __slots__ = ("_action", "_policies", "hints")

    def __init__(self, rules: rbac.Rules) -> None:
        self._action = rules.action
        self.hints = rules.action == "LOG"
        self._policies = [(policy.name, _policy(policy)) for policy in rules.policies]

    def judge(self, subject: Subject) -> tuple[str | None, bool]:
        """The name of the first policy that applies, and whether it may pass."""
        for name, applies in self._policies:
            if applies(subject):
                return name, self._action != "DENY"
        return None, self._action != "ALLOW"

    def points_out(self, policy: str | None) -> bool:
        return policy is not None


class ListEngine:
    """Envoy's matcher API: each rule has an action of its own; what none takes is denied."""

    __slots__ = ("_actions", "_otherwise", "_rules", "hints")

    def __init__(self, decisions: rbac.Decisions) -> None:
        self._rules = [(_test(rule), decision) for rule, decision in decisions.rules]
        self._otherwise = decisions.otherwise
        every = [decision for _, decision in decisions.rules]
        every += [] if decisions.otherwise is None else [decisions.otherwise]
        self._actions = {decision.name: decision.action for decision in every}
        self.hints = "LOG" in self._actions.values()

    def judge(self, subject: Subject) -> tuple[str | None, bool]:
        for applies, decision in self._rules:
            if applies(subject):
                return decision.name, decision.action != "DENY"
        if self._otherwise is None:
            return None, False
        return self._otherwise.name, self._otherwise.action != "DENY"

    def points_out(self, policy: str | None) -> bool:
        return policy is not None and self._actions[policy] == "LOG"


AnyEngine = Engine | ListEngine


def engine(rules: rbac.AnyRules) -> AnyEngine:
    return Engine(rules) if isinstance(rules, rbac.Rules) else ListEngine(rules)


def _policy(policy: rbac.Policy) -> Test:
    permitted, principal = _any_of(policy.permissions), _any_of(policy.principals)
    return lambda subject: permitted(subject) and principal(subject)


def _any_of(rules: Sequence[rbac.Rule]) -> Test:
    tests = [_test(rule) for rule in rules]
    if len(tests) == 1:
        return tests[0]

    def check(subject: Subject) -> bool:
        for test in tests:  # noqa: SIM110 a generator costs twice as much
            if test(subject):
                return True
        return False

    return check


def _all_of(rules: Sequence[rbac.Rule]) -> Test:
    tests = [_test(rule) for rule in rules]
    if len(tests) == 1:
        return tests[0]

    def check(subject: Subject) -> bool:
        for test in tests:  # noqa: SIM110
            if not test(subject):
                return False
        return True

    return check


def _not(rule: rbac.Rule) -> Test:
    test = _test(rule)
    return lambda subject: not test(subject)


def _test(rule: rbac.Rule) -> Test:
    compiler: Callable[[Any], Test] = _COMPILERS[type(rule)]
    return compiler(rule)


# ---------------------------------------------------------------------------- the request


def _header(rule: rbac.Header) -> Test:
    test = match.header(rule.matcher)
    return lambda subject: test(subject.request)


def _header_text(rule: rbac.HeaderText) -> Test:
    values_of, test = match.request_values(rule.name.encode()), match.string(rule.matcher)

    def check(subject: Subject) -> bool:
        values = values_of(subject.request)
        return bool(values) and test(b",".join(values))

    return check


def _port_text(rule: rbac.PortText) -> Test:
    of, test = _ADDRESSES[rule.of], match.string(rule.matcher)
    return lambda subject: test(b"%d" % of(subject)[1])


def _url_path(rule: rbac.UrlPath) -> Test:
    test = match.string(rule.matcher)
    if rule.matcher.kind == "prefix" and not {"?", "#"} & set(rule.matcher.value):
        return lambda subject: test(subject.request.path)  # whatever stands behind it
    return lambda subject: test(_bare(subject.request.path))


def _uri_template(rule: rbac.UriTemplate) -> Test:
    test = match.full_regex(parse_template(rule.template).regex)
    return lambda subject: test(_bare(subject.request.path))


def _bare(path: bytes) -> bytes:
    """Without query and fragment."""
    return path.partition(b"?")[0].partition(b"#")[0]


# ---------------------------------------------------------------------------- the connection

_ADDRESSES: Mapping[rbac.AddressOf, Callable[[Subject], Address]] = {
    "destination": lambda subject: subject.info.local,
    "source": lambda subject: subject.info.remote,
    "direct_remote": lambda subject: subject.info.remote,
    "remote": lambda subject: subject.remote,
}


def _address(rule: rbac.Address) -> Test:
    of, inside = _ADDRESSES[rule.of], in_range((rule.cidr,))
    return lambda subject: inside(of(subject)[0])


def in_range(ranges: Sequence[CidrRange]) -> Callable[[str], bool]:
    """Whether a host is an IP in one of the ranges. An IPv4-mapped address is one of IPv6: those of
    sockets are never written so."""
    networks: list[IPv4Network | IPv6Network] = [
        ip_network((one.address, one.prefix_len), strict=False) for one in ranges
    ]
    known: dict[str, bool] = {}

    def check(host: str) -> bool:
        found = known.get(host)
        if found is None:
            if len(known) >= MAX_KNOWN:
                known.clear()
            found = known[host] = _inside(host, networks)
        return found

    return check


MAX_KNOWN = 1024


def _inside(host: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _port(rule: rbac.DestinationPort) -> Test:
    start, end = rule.start, rule.end
    return lambda subject: start <= subject.info.local[1] < end


def _server_name(rule: rbac.ServerName) -> Test:
    test = match.string(rule.matcher)
    return lambda subject: test(subject.info.sni.encode())


def _authenticated(rule: rbac.Authenticated) -> Test:
    """Envoy: any URI SAN, then any DNS SAN, then the subject. Without a name TLS is enough."""
    if rule.name is None:
        return lambda subject: subject.info.tls
    test = match.string(rule.name)

    def check(subject: Subject) -> bool:
        info = subject.info
        if not info.tls:
            return False
        peer = info.peer
        if peer is None:
            return test(b"")
        names = (*peer.uri_sans, *peer.dns_sans, peer.subject)
        return any(test(name.encode()) for name in names)

    return check


# ---------------------------------------------------------------------------- what others left


def _metadata(rule: rbac.Metadata) -> Test:
    test = match.metadata(rule.matcher)
    if rule.source == "DYNAMIC":
        return lambda subject: test(subject.metadata)
    return lambda subject: subject.route is not None and test(subject.route.metadata)


def _filter_state(rule: rbac.FilterState) -> Test:
    key, test = rule.key, _state_test(rule.string, rule.ranges)

    def check(subject: Subject) -> bool:
        value = subject.filter_state.get(key)
        return value is not None and test(str(value))

    return check


def _state_test(string: StringMatcher | None, ranges: Sequence[CidrRange]) -> Callable[[str], bool]:
    if string is None:
        return in_range(ranges)
    test = match.string(string)
    return lambda value: test(value.encode())


def _anybody(_: rbac.Any_) -> Test:
    return lambda _: True


_COMPILERS: Mapping[type, Callable[[Any], Test]] = {
    rbac.Any_: _anybody,
    rbac.All: lambda rule: _all_of(rule.rules),
    rbac.OneOf: lambda rule: _any_of(rule.rules),
    rbac.Not: lambda rule: _not(rule.rule),
    rbac.Header: _header,
    rbac.HeaderText: _header_text,
    rbac.PortText: _port_text,
    rbac.UrlPath: _url_path,
    rbac.UriTemplate: _uri_template,
    rbac.Address: _address,
    rbac.DestinationPort: _port,
    rbac.Authenticated: _authenticated,
    rbac.ServerName: _server_name,
    rbac.Metadata: _metadata,
    rbac.FilterState: _filter_state,
}
