"""Certificates that the conformance suite makes when it starts, and that its manifests name."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.support.pki import Authority, KeyPair

Document = dict[str, Any]
_NAMES = ("*.org", "*.com", "*.wildcard.org", "*.example.com", "example.org", "localhost")
_NOT_MADE = ("nonexist", "non-exis", "malformed", "invalid")


class Pki:
    """One authority for servers, one for each ConfigMap with roots of clients."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority("servers")
        self._pair = self._authority.issue(dns=_NAMES)
        self._clients: dict[str, Authority] = {}

    def missing(self, objects: list[Document]) -> Iterator[Document]:
        """The Secrets and ConfigMaps that are named and not there, but for those that shall be."""
        have = {(one["kind"], one["metadata"]["name"]) for one in objects}
        for kind, namespace, name in sorted(set(_named(objects))):
            if (kind, name) in have or any(mark in name for mark in _NOT_MADE):
                continue
            metadata = {"name": name, "namespace": namespace}
            if kind == "Secret":
                yield _secret(metadata, self._pair)
            elif kind == "ConfigMap":
                authority = self._clients.setdefault(name, Authority(name))
                data = {"ca.crt": authority.pem}
                yield {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._pair.write(self._folder, "server"))
        return context

    def client(self, certificate: str = "") -> ssl.SSLContext:
        """certificate: the suite's expression for one; the per-port authority's has a word for
        it."""
        context = ssl.create_default_context(cadata=self._authority.pem)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate:
            wanted = "per-port" if "PerPort" in certificate else "checks-ca"
            authority = next(one for name, one in self._clients.items() if wanted in name)
            pair = authority.issue(dns=("client.example.com",))
            context.load_cert_chain(*pair.write(self._folder, "client"))
        return context


def _named(objects: Iterable[Document]) -> Iterator[tuple[str, str, str]]:
    """(kind, namespace, name) of what Gateways refer to."""
    for one in objects:
        if one["kind"] == "Gateway":
            own = one["metadata"].get("namespace", "default")
            for reference in _references(one["spec"]):
                kind = reference.get("kind", "Secret")
                yield kind, reference.get("namespace", own), reference["name"]


def _references(value: Any) -> Iterator[Document]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("certificateRefs", "caCertificateRefs"):
                yield from item
            else:
                yield from _references(item)


def _secret(metadata: Document, pair: KeyPair) -> Document:
    values = {"tls.crt": pair.certificate, "tls.key": pair.key}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": data,
    }
