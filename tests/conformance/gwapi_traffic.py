"""Steps of Gateway API's conformance tests that send something, and what must come of it."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.support.echo_backends import SET_HEADER
from tests.support.echo_client import Answer, Ask, ask, exchange

Wanted = Mapping[str, Any]
_CODES = {"OK": 0, "Unimplemented": 12, "Unavailable": 14, "Canceled": 1, "DeadlineExceeded": 4}
_SERVICE = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/"
_METHODS = {"EchoRequest": "Echo", "EchoTwoRequest": "EchoTwo", "EchoThreeRequest": "EchoThree"}
_WELL_KNOWN = {"http": "80", "https": "443"}


# --------------------------------------------------------------------------- HTTP


def http_ask(wanted: Wanted, default_host: str) -> Ask:
    request = wanted.get("Request", {})
    protocol = request.get("Protocol", "")
    grpc = protocol == "grpc"
    path = request.get("Path", "") or "/"
    headers = dict(request.get("Headers", {}))
    if answered := wanted.get("BackendSetResponseHeaders"):
        headers[SET_HEADER] = ",".join(f"{name}:{value}" for name, value in answered.items())
    return Ask(
        host=request.get("Host", "") or default_host,
        path="/proto.EchoTestService/Echo" if grpc else path,
        method=request.get("Method", "GET"),
        headers=headers,
        http2=protocol in ("H2", "H2C_PRIOR_KNOWLEDGE"),
        grpc=grpc,
    )


async def http_fault(port: int, wanted: Wanted, default_host: str = "", tls: Any = None) -> str:
    """What is wrong with the answer, ''. tls: (context, server name)."""
    what = http_ask(wanted, default_host or f"127.0.0.1:{port}")
    context, sni = tls or (None, "")
    try:
        answer = await ask(port, what, context, sni)
    except (OSError, TimeoutError) as error:
        return f"{what.method} {what.host}{what.path}: {type(error).__name__} {error}"
    faults = list(_faults(answer, wanted, what))
    return f"{what.method} {what.host}{what.path}: {'; '.join(faults)}" if faults else ""


def _faults(answer: Answer, wanted: Wanted, what: Ask) -> Iterator[str]:
    response = wanted.get("Response", {})
    codes = response.get("StatusCodes") or [response.get("StatusCode", 200)]
    if answer.status not in codes:
        yield f"status {answer.status}, not {codes}"
        return
    for name, value in response.get("Headers", {}).items():
        if answer.headers.get(name.lower()) != value:
            yield f"response header {name}: {answer.headers.get(name.lower())!r}, not {value!r}"
    for name in _names(response.get("AbsentHeaders")):
        if name.lower() in answer.headers:
            yield f"response has the header {name}"
    if "RedirectRequest" in wanted:
        yield from _redirect_faults(answer, wanted["RedirectRequest"], what)
    elif answer.status == 200:
        yield from _echo_faults(answer, wanted, what)


def _names(value: Any) -> Iterable[str]:
    """Some lists are a variable of the suite's code, of which nothing is known."""
    return value if isinstance(value, list) else ()


def _echo_faults(answer: Answer, wanted: Wanted, what: Ask) -> Iterator[str]:
    """What the backend saw: who it is, and the request as it came there."""
    told = answer.told
    if not told:
        yield f"no backend answered: {answer.body[:80]!r}"
        return
    backend, namespace = wanted.get("Backend", ""), wanted.get("Namespace", "")
    if isinstance(backend, str) and backend and not told["pod"].startswith(backend):
        yield f"{told['pod']} answered, not {backend}"
    if namespace and backend and told["namespace"] != namespace:
        yield f"the namespace {told['namespace']} answered, not {namespace}"
    expected = wanted.get("ExpectedRequest", {"Request": wanted.get("Request", {})})
    request = expected.get("Request", {})
    path = request.get("Path", "") or "/"
    if not what.grpc and told["path"] != path:
        yield f"the backend saw the path {told['path']}, not {path}"
    host = request.get("Host", "")
    if host and not what.grpc and told["host"] != host:
        yield f"the backend saw the host {told['host']}, not {host}"
    yield from header_faults(told["headers"], request.get("Headers", {}))
    for name in _names(expected.get("AbsentHeaders")):
        if name.lower() in told["headers"]:
            yield f"the backend saw the header {name}"


def header_faults(seen: Mapping[str, list[str]], wanted: Mapping[str, str]) -> Iterator[str]:
    for name, value in wanted.items():
        if (got := ",".join(seen.get(name.lower(), []))) != value:
            yield f"the backend saw {name}: {got!r}, not {value!r}"


def _redirect_faults(answer: Answer, wanted: Wanted, what: Ask) -> Iterator[str]:
    """Defaults are the request's; a port that goes without saying may be there or not."""
    location = answer.headers.get("location", "")
    found = urlsplit(location)
    scheme = wanted.get("Scheme", "") or "http"
    if found.scheme and found.scheme != scheme:
        yield f"location {location} has not the scheme {scheme}"
    host = wanted.get("Host", "") or what.host.partition(":")[0]
    if found.hostname and found.hostname != host:
        yield f"location {location} has not the host {host}"
    path = wanted.get("Path", "") or what.path
    if found.path != path:
        yield f"location {location} has not the path {path}"
    port = wanted.get("Port", "")
    got = str(found.port) if found.port else ""
    allowed = (port,) if port else ("", _WELL_KNOWN[scheme], what.host.partition(":")[2])
    if found.netloc and got not in allowed:
        yield f"location {location} has not the port {port or 'of its scheme'}"


async def distribution(
    port: int, what: Ask | None, wanted: Wanted, shares: Mapping[str, float], count: int = 200
) -> str:
    """Do backends get requests by their weights, within 12 % of all?"""
    seen: dict[str, int] = {}
    for _ in range(count):
        answer = await ask(port, what or http_ask(wanted, f"127.0.0.1:{port}"))
        name = answer.told.get("service", str(answer.status))
        seen[name] = seen.get(name, 0) + 1
    return _share_fault(seen, shares, count)


def _share_fault(seen: Mapping[str, int], shares: Mapping[str, float], count: int) -> str:
    for name in {*seen, *shares}:
        if abs(seen.get(name, 0) / count - shares.get(name, 0.0)) > 0.12:
            return f"shares are {dict(seen)} of {count}, not {dict(shares)}"
    return ""


# --------------------------------------------------------------------------- gRPC, TCP


def grpc_ask(wanted: Wanted, default_host: str) -> Ask:
    method = next((call for key, call in _METHODS.items() if key in wanted), "Echo")
    metadata = wanted.get("RequestMetadata") or {}
    return Ask(
        host=metadata.get("Authority", "") or default_host,
        path=_SERVICE + method,
        headers=metadata.get("Metadata", {}),
        grpc=True,
    )


async def grpc_fault(port: int, wanted: Wanted, *, headers: bool = True) -> str:
    """headers: also of those that the backend saw."""
    what = grpc_ask(wanted, f"127.0.0.1:{port}")
    try:
        answer = await ask(port, what)
    except (OSError, TimeoutError) as error:
        return f"{what.host}{what.path}: {type(error).__name__} {error}"
    faults = list(_grpc_faults(answer, wanted, headers=headers))
    return f"{what.host}{what.path}: {'; '.join(faults)}" if faults else ""


def _grpc_faults(answer: Answer, wanted: Wanted, *, headers: bool) -> Iterator[str]:
    response = wanted.get("Response") or {}
    code = _CODES[response.get("Code", "OK")]
    if answer.grpc_status != code:
        yield f"grpc-status {answer.grpc_status}, not {code} (HTTP {answer.status})"
        return
    if code:
        return
    told = answer.told
    backend = wanted.get("Backend", "")
    if backend and not told.get("pod", "").startswith(backend):
        yield f"{told.get('pod')} answered, not {backend}"
    if not headers:
        return
    joined = {
        name: ",".join(values)
        for name, values in response.get("Headers", {}).items()
        if isinstance(values, list)
    }
    yield from header_faults(told.get("headers", {}), joined)


async def tcp_fault(port: int, wanted: Wanted, tls: tuple[ssl.SSLContext, str] | None) -> str:
    context, sni = tls or (None, "")
    try:
        data = await exchange(port, b"\1hello", context, sni)
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__} {error}"
    told = Answer(0, body=data).told
    if not told.get("pod", "").startswith(wanted["Backend"]):
        return f"{told.get('pod', 'nobody')} answered, not {wanted['Backend']}"
    return ""
