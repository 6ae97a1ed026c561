"""Istio's Gateway, Kubernetes' Ingress: what is refused, and where."""

from __future__ import annotations

import pytest

from controlplane.kinds.parse import parse


def errors(version: str, kind: str, spec: str) -> list[str]:
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
    return [one.message for one in parse(text, "a.yaml").statuses if one.severity == "error"]


def server(text: str) -> list[str]:
    return errors("networking.istio.io/v1", "Gateway", f"{{servers: [{text}]}}")


HTTPS = "port: {number: 443, name: https, protocol: HTTPS}"
HTTP = "port: {number: 80, name: http, protocol: HTTP}"


@pytest.mark.parametrize(
    "text",
    [
        f"{{{HTTP}, hosts: ['*'], tls: {{httpsRedirect: true}}}}",
        f"{{{HTTPS}, hosts: [ns/*.a.com], tls: {{mode: SIMPLE, credentialName: c}}}}",
        f"{{{HTTPS}, hosts: [./a.com], tls: {{mode: MUTUAL, credentialNames: [c, d]}}}}",
        f"{{{HTTPS}, hosts: ['*/a.com'], tls: {{mode: ISTIO_MUTUAL}}}}",
        f"{{{HTTPS}, hosts: [a.com], tls: {{mode: SIMPLE, serverCertificate: c, privateKey: k}}}}",
    ],
)
def test_servers_that_are_right(text: str) -> None:
    assert not server(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{{{HTTPS}, hosts: [a.com]}}", "tls is required for the protocol HTTPS"),
        (f"{{{HTTP}, hosts: [a.com], tls: {{credentialName: c}}}}", "has no meaning"),
        (f"{{{HTTP}, hosts: []}}", "at least 1 item"),
        (f"{{{HTTP}, hosts: [a/b/c]}}", "a host name"),
        (f"{{{HTTP}, hosts: ['a.*.com']}}", "a host name"),
        (
            f"{{{HTTPS}, hosts: [a], tls: {{mode: SIMPLE}}}}",
            "serverCertificate is required, or credentialName",
        ),
        (
            f"{{{HTTPS}, hosts: [a], tls: {{mode: MUTUAL, serverCertificate: c, privateKey: k}}}}",
            "caCertificates is required, or",
        ),
        (
            f"{{{HTTPS}, hosts: [a], tls: {{mode: ISTIO_MUTUAL, credentialName: c}}}}",
            "the mesh's certificates",
        ),
        (
            f"{{{HTTPS}, hosts: [a], tls: {{mode: PASSTHROUGH, minProtocolVersion: TLSV1_3, "
            "maxProtocolVersion: TLSV1_2}}",
            "is higher than",
        ),
        (
            f"{{{HTTPS}, hosts: [a], tls: {{mode: PASSTHROUGH, cipherSuites: [x]}}}}",
            "no cipher suite 'x'",
        ),
    ],
)
def test_servers_that_are_wrong(text: str, said: str) -> None:
    assert any(said in message for message in server(text)), server(text)


def ingress(spec: str) -> list[str]:
    return errors("networking.k8s.io/v1", "Ingress", spec)


def path(text: str) -> str:
    backend = "backend: {service: {name: a, port: {number: 80}}}"
    return f"{{rules: [{{http: {{paths: [{{{text}, {backend}}}]}}}}]}}"


def test_an_ingress_that_is_right() -> None:
    assert not ingress(path("path: /a, pathType: Prefix"))
    assert not ingress(path("pathType: ImplementationSpecific"))
    assert not ingress("{defaultBackend: {resource: {kind: A, name: b}}}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}", "needs a defaultBackend or rules"),
        (path("path: a, pathType: Prefix"), "begins with '/'"),
        (path("path: /a//b, pathType: Exact"), "must not contain '//'"),
        (path("path: /a, pathType: Regex"), "one of Exact, Prefix"),
        ("{defaultBackend: {service: {name: a, port: {}}}}", "either a name or a number"),
        ("{defaultBackend: {}}", "either a service or a resource"),
        ("{rules: [{host: '*'}]}", "a host name"),
    ],
)
def test_ingresses_that_are_wrong(spec: str, said: str) -> None:
    assert any(said in message for message in ingress(spec)), ingress(spec)
