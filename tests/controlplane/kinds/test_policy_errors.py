"""What is wrong with a policy is said with its place, field and what was expected."""

from __future__ import annotations

import pytest

from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.parse import parse

HEAD = "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n{spec}"


def said(kind: str, spec: str) -> list[str]:
    indented = "".join(f"  {line}\n" for line in spec.splitlines())
    parsed = parse(HEAD.format(kind=kind, spec=indented), "a.yaml")
    return [f"{s.position.line}:{s.position.column} {s.message}" for s in parsed.statuses]


RULE = "rules: [{%s}]"
WRONG_POLICIES = {
    "action: DENY": "5:3 spec.rules: DENY without a rule",
    "action: CUSTOM\nprovider: {name: p}": "spec.rules: CUSTOM without a rule",
    "action: CUSTOM\nrules: [{}]": "spec.provider: the action CUSTOM needs provider",
    "provider: {name: p}": "5:13 spec.provider: the action ALLOW takes no provider",
    "action: NO": "expected one of ALLOW, DENY, AUDIT, CUSTOM",
    "selector: {matchLabels: {a: 'b*'}}": "'*' does not stand for anything",
    "selector: {}\ntargetRefs: [{kind: Service, name: a}]": "expected only one of selector",
    "targetRefs: [{kind: Pod, name: a}]": "got 'Pod' of group ''",
    "targetRefs: [{kind: Service, name: a, namespace: b}]": "must be in the policy's own",
    RULE % "from: []": "spec.rules[0].from: expected at least 1 item",
    RULE % "from: [{}]": "spec.rules[0].from[0].source is required",
    RULE % "from: [{source: {}}]": "must not be empty",
    RULE % "from: [{source: {principals: []}}]": "must not be empty",
    RULE % "from: [{source: {principals: ['']}}]": "a string that is not empty",
    RULE % "from: [{source: {ipBlocks: [1.2.3]}}]": "expected an IP address or CIDR range",
    RULE % "from: [{source: {ipBlocks: [10.0.0.0/255.0.0.0]}}]": "IP address or CIDR range",
    RULE % "from: [{source: {ipBlocks: [10.0.0.0/33]}}]": "expected an IP address or CIDR range",
    RULE % "from: [{source: {ipBlocks: ['fe80::1%eth0']}}]": "IP address or CIDR range",
    RULE % "from: [{source: {serviceAccounts: [a/b/c]}}]": "'serviceAccount' or 'namespace/",
    RULE % "from: [{source: {serviceAccounts: ['a*']}}]": "'serviceAccount' or 'namespace/",
    RULE % "from: [{source: {serviceAccounts: [a], namespaces: [b]}}]": "can not stand beside",
    RULE % "to: [{operation: {}}]": "must not be empty",
    RULE % "to: [{operation: {ports: [80]}}]": 'write "80"',
    RULE % "to: [{operation: {ports: ['65536']}}]": "expected a port number",
    RULE % "to: [{operation: {paths: ['/{a}']}}]": "'{a}' of '/{a}': only {*} and {**}",
    RULE % "to: [{operation: {paths: ['{*}/a']}}]": "must begin with '/' and have no empty",
    RULE % "to: [{operation: {paths: ['//{*}']}}]": "must begin with '/' and have no empty",
    RULE % f"to: [{{operation: {{paths: ['/{'a' * 300}/{{*}}']}}}}]": "more than 256 characters",
    RULE % "to: [{operation: {paths: ['/{**}/{*}']}}]": "{**} must be the last operator",
    RULE % "to: [{operation: {paths: ['/{*}/a*']}}]": "can not stand in a path template",
    RULE % "to: [{operation: {methods: [GET], path: [a]}}]": "did you mean 'paths'?",
    RULE % "when: [{key: source.ip}]": "needs values or notValues for source.ip",
    RULE % "when: [{key: source.ip, values: [x]}]": "when[0].values[0]: expected an IP address",
    RULE % "when: [{key: source.up, values: [x]}]": "when[0].key: the key is not known",
    RULE % "when: [{key: 'request.headers[', values: [x]}]": "the key is not known",
    RULE % "when: [{key: 'request.auth.claims[a][]', values: [x]}]": "the key is not known",
    RULE % "when: [{key: experimental.a, values: [x]}]": "the key is not known",
    "action: CUSTOM\nprovider: {name: p}\nrules: [{from: [{source: {namespaces: [a]}}]}]": (
        "source.namespaces is not supported with the action CUSTOM"
    ),
    "action: CUSTOM\nprovider: {name: p}\n"
    "rules: [{when: [{key: request.auth.principal, values: [a]}]}]": (
        "request.auth.principal is not supported with the action CUSTOM"
    ),
}


@pytest.mark.parametrize("spec", WRONG_POLICIES)
def test_a_wrong_policy_is_refused_with_its_reason(spec: str) -> None:
    found = said("AuthorizationPolicy", spec)
    assert any(WRONG_POLICIES[spec] in message for message in found), found


@pytest.mark.parametrize(
    ("annotation", "action", "fault"),
    [
        ("maybe", "ALLOW", 'expected "true" or "false", got \'maybe\''),
        ("true", "AUDIT", "only ALLOW and DENY can run dry, not AUDIT"),
    ],
)
def test_a_dry_run_that_can_not_be_is_refused(annotation: str, action: str, fault: str) -> None:
    text = (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n"
        f"  name: a\n  annotations: {{istio.io/dry-run: '{annotation}'}}\n"
        f"spec: {{action: {action}}}"
    )
    assert [s.message for s in parse(text, "a").statuses] == [
        f"metadata: annotation istio.io/dry-run: {fault}"
    ]


KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}'
WRONG_TOKENS = {
    "jwtRules: [{}]": "needs an issuer or a jwksUri",
    "jwtRules: [{issuer: a, jwks: '{'}]": "Jwks is an invalid JSON",
    "jwtRules: [{issuer: a, jwks: '{\"keys\": []}'}]": "doesn't have any valid public key",
    "jwtRules: [{issuer: a, jwksUri: ftp://x/}]": "expected a URL",
    "jwtRules: [{issuer: a, jwksUri: 'http://x:y/'}]": "expected a URL",
    "jwtRules: [{issuer: a, jwksUri: 'http://x/ y'}]": "expected a URL",
    "jwtRules: [{issuer: a, jwksUri: 'http://x_y/'}]": "expected a URL",
    'jwtRules: [{issuer: a, fromHeaders: [{name: a, prefix: "b\\n"}]}]': "one line",
    f"jwtRules: [{{issuer: a, jwksUri: 'http://x', jwks: '{KEYS}'}}]": "only one of jwks",
    "jwtRules: [{issuer: a, audiences: ['']}]": "a string that is not empty",
    "jwtRules: [{issuer: a, fromHeaders: [{prefix: a}]}]": "fromHeaders[0].name is required",
    "jwtRules: [{issuer: a, outputClaimToHeaders: [{header: 'a:', claim: b}]}]": "a header name",
    "jwtRules: [{issuer: a, timeout: 1us}]": "at least 1ms",
}


@pytest.mark.parametrize("spec", WRONG_TOKENS)
def test_a_wrong_request_authentication_is_refused(spec: str) -> None:
    found = said("RequestAuthentication", spec)
    assert any(WRONG_TOKENS[spec] in message for message in found), found


# --------------------------------------------------------------------------- MeshConfig

MAP = """apiVersion: v1
kind: ConfigMap
metadata:
  name: istio
  namespace: istio-system
data:
  mesh: |
    extensionProviders:
    - name: a
      envoyExtAuthzGrpc:
        service: a.b
        port: 99999
        statusOnError: "999"
"""


def test_a_fault_inside_of_the_mesh_config_has_its_place_in_the_file() -> None:
    found = parse(MAP, "m.yaml")
    assert not found.objects
    assert [f"{s.position}: {s.message}" for s in found.statuses] == [
        "m.yaml:12:15: data.mesh.extensionProviders[0].envoyExtAuthzGrpc.port: expected an integer "
        "1..65535, got the integer 99999",
        "m.yaml:13:24: data.mesh.extensionProviders[0].envoyExtAuthzGrpc.statusOnError: expected "
        "an HTTP status code as a string, such as '403', got '999'",
    ]


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("x: '100%% %REQ(:PATH)% %START_TIME%'", ""),
        ("':path': x", "is not the name of a header that can be added"),
        ("host: x", "is not the name of a header that can be added"),
        ("'': x", "is not the name of a header that can be added"),
        ("x: '%REQ('", "begins no operator"),
        ("x: '100%'", "begins no operator"),
    ],
)
def test_headers_of_a_check_are_ones_that_envoy_takes(header: str, fault: str) -> None:
    text = MAP.replace("Grpc", "Http").replace("99999", "9000").replace('"999"', '"503"')
    found = parse(f"{text}        includeAdditionalHeadersInCheck: {{{header}}}\n", "m.yaml")
    messages = [status.message for status in found.statuses]
    assert any(fault in message for message in messages) if fault else not messages, messages


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("pathNormalization: {normalization: BASE}", ""),
        ("pathNormalization: {normalization: MERGE_SLASHES}", ""),
        ("meshMTLS: {minProtocolVersion: TLSV1_2}", ""),
        ("meshMTLS: {minProtocolVersion: TLSV1_3}", ""),
        ("tlsDefaults: {minProtocolVersion: TLSV1_3}", ""),
        ("meshMTLS: {cipherSuites: [a]}", "cipherSuites[0]: 'a' is not known"),
        ("tlsDefaults: {ecdhCurves: [P-256, P-1]}", "ecdhCurves[1]: 'P-1' is not known"),
        ("tlsDefaults: {ecdhCurves: [P-256, P-256]}", "ecdhCurves[1]: 'P-256' is given twice"),
        ("discoverySelectors: [{matchExpressions: [{key: a, operator: Is}]}]", "no operator 'Is'"),
        ("outboundClusterStatName: '%SERVICE%_%HOST%'", "a name with variables of %SERVICE%"),
    ],
)
def test_what_would_make_the_mesh_safer_is_not_left_aside(line: str, fault: str) -> None:
    text = f"{MAP.partition('    extensionProviders')[0]}    {line}\n"
    found = parse(text, "m.yaml")
    if not fault:
        assert found.statuses == ()
        return
    (status,) = found.statuses
    assert (status.severity, status.code) == ("error", "InvalidField")
    assert fault in status.message


@pytest.mark.parametrize(("value", "told"), [("true", 0), ("false", 1)])
def test_servers_outside_are_verified_whatever_the_mesh_config_says(value: str, told: int) -> None:
    text = f"{MAP.partition('    extensionProviders')[0]}    verifyCertificateAtClient: {value}\n"
    found = parse(text, "m.yaml")
    assert len(found.objects) == 1
    assert [(one.severity, one.code) for one in found.statuses] == [("info", "NoEffect")] * told
    assert all("insecureSkipVerify" in one.message for one in found.statuses)


def test_a_mesh_config_that_is_no_yaml_is_told_where() -> None:
    found = parse(MAP.replace("    - name: a", "    - [name: a"), "m.yaml")
    assert [(s.code, s.position.line) for s in found.statuses] == [("ParseError", 10)]


def test_only_one_config_map_is_the_mesh_config() -> None:
    other = parse(MAP.replace("name: istio\n", "name: other\n"), "m.yaml")
    assert other.statuses == () and not isinstance(other.objects[0], MeshConfigMap)
    good = parse(MAP.replace("99999", "9000").replace('"999"', '"503"'), "m.yaml")
    assert good.statuses == ()
    (item,) = good.objects
    assert isinstance(item, MeshConfigMap)
    assert not item.denial_details
    provider = item.data.mesh.extension_providers[0].envoy_ext_authz_grpc
    assert provider is not None
    assert provider.status_on_error == 503


def test_a_null_rule_is_no_rule_that_takes_everything() -> None:
    assert said("AuthorizationPolicy", "rules: [null]") == [
        "5:11 spec.rules[0]: expected a mapping, got nothing"
    ]
    (item,) = parse(HEAD.format(kind="AuthorizationPolicy", spec="  rules: null"), "a").objects
    assert isinstance(item, AuthorizationPolicy)
    assert item.spec.rules == ()


@pytest.mark.parametrize(
    ("name", "gateways", "fault"),
    [
        ("@request.auth.claims.a.b", "[mesh, edge]", ""),
        ("@request.auth.claims[a][b]", "[edge]", ""),
        ("@request.auth.claims.a", "[mesh]", "spec.gateways: claims (@request.auth.claims)"),
        ("@request.auth.claims.a", "[]", "spec.gateways: claims (@request.auth.claims)"),
        ("@request.auth.claims", "[edge]", "names no claim"),
        ("@request.auth.claims.a..b", "[edge]", "names no claim"),
        ("@request.auth.claims[a", "[edge]", "names no claim"),
    ],
)
def test_claims_choose_routes_at_gateways(name: str, gateways: str, fault: str) -> None:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
        f"spec: {{hosts: [b], gateways: {gateways}, http: [{{"
        "route: [{destination: {host: b}}], "
        f"match: [{{headers: {{'{name}': {{exact: x}}}}}}]}}]}}"
    )
    messages = [status.message for status in parse(text, "a").statuses]
    assert any(fault in message for message in messages) if fault else not messages, messages
