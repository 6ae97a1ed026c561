"""What formats make of a stream. Facts come from a plain object; Envoy's own lines for the same
facts are in `test_format_envoy.py`."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace

import pytest

from proxy.connection import PeerCertificate
from proxy.http.format_string import OPERATORS, FormatError
from proxy.http.message import Response
from proxy.l7.format import (
    DEFAULT_FORMAT,
    compile_format,
    compile_header_value,
    compile_json,
    constant,
)
from tests.support.streams import LoggedStream, connection, headers, manager, request


def line(text: str, stream: LoggedStream | None = None) -> str:
    return compile_format(text)(stream or LoggedStream()).decode()


def header_value(text: str, stream: LoggedStream) -> bytes:
    return compile_header_value(text)(stream)


def json_line(fields: dict[str, object], stream: LoggedStream | None = None) -> bytes:
    return compile_json(fields)(stream or LoggedStream())


PEER = PeerCertificate(
    ("spiffe://cluster.local/ns/a/sa/b", "urn:x"), ("b.test",), "CN=b", "CN=ca", "01ff", "ab" * 32
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%", "GET /items?q=1 HTTP/1.1"),
        ("%REQ(:AUTHORITY)% %REQ(Host)% %REQ(:SCHEME)%", "shop.test shop.test http"),
        ("%RESPONSE_CODE% %RESP(:STATUS)%", "200 200"),
        ("%BYTES_RECEIVED% %BYTES_SENT%", "0 5"),
        ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "- -"),
        ("%RESPONSE_CODE_DETAILS%", "via_upstream"),
        ("%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION%", "250 0 20"),
        ("%UPSTREAM_HOST% %UPSTREAM_HOST_NAME%", "10.0.0.3:9000 10.0.0.3:9000"),
        ("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", "outbound|80||shop outbound|80||shop"),
        ("%ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "default 1"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.1.10.23:50000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.1.10.23"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%", "10.1.0.0/16"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(64)%", "-"),
        ("%DOWNSTREAM_REMOTE_PORT%", "50000"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.1.10.23:50000"),
        ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "10.0.0.2:8080 8080"),
        ("%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%", "10.0.0.2:15006"),
        ("%UPSTREAM_LOCAL_ADDRESS% %CONNECTION_TERMINATION_DETAILS%", "10.0.0.2:40000 -"),
        ("%REQUESTED_SERVER_NAME% %VIRTUAL_CLUSTER_NAME%", "- -"),
        ("%REQUESTED_SERVER_NAME(SNI_FIRST)%", "shop.test"),
        ("%REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)%", "-"),
        ("%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION%", "- -"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON% %ACCESS_LOG_TYPE%", "- DownstreamEnd"),
        ("%REQ(X-NONE)% %RESP(X-NONE)% %TRAILER(X-NONE)%", "- - -"),
        ("%PATH% %PATH(NQ)% %QUERY_PARAM(q)% %QUERY_PARAMS%", "/items?q=1 /items 1 q=1"),
        ("%REQ(:PATH):4%", "/ite"),
        ("100%% %DURATION%ms", "100% 250ms"),
        ("no operator %%s", "no operator %s"),
    ],
)
def test_a_plain_get(text: str, wanted: str) -> None:
    assert line(text) == wanted


def test_every_operator_can_be_compiled_and_called() -> None:
    for name, syntax in OPERATORS.items():
        arg = {"METADATA": "ROUTE:X", "COMMON_DURATION": "DS_RX_BEG:DS_TX_END"}.get(name, "X")
        text = f"%{name}({arg})%" if syntax.args == "required" else f"%{name}%"
        assert line(text)
        assert json.loads(json_line({"v": text})).keys() == {"v"}


def test_the_default_format() -> None:
    pairs = [("x-forwarded-for", "1.2.3.4"), ("user-agent", "curl"), ("x-request-id", "r1")]
    stream = LoggedStream(request=request(pairs=pairs), flags="URX,UF", status=503, host=None)
    found = line(DEFAULT_FORMAT, stream)
    assert re.fullmatch(
        r'\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET /items\?q=1 HTTP/1\.1" 503 URX,UF 0 5 250'
        r' - "1\.2\.3\.4" "curl" "r1" "shop\.test" "-"\n',
        found,
    )


def test_a_stream_without_an_answer() -> None:
    stream = LoggedStream(
        response=None, status=0, flags="DC", detail="downstream_remote_disconnect", host=None,
        cluster=None, route=None, service_ms=None, sent_at=0.0, answered_at=0.0, request_done=False,
        attempt=0,
    )  # fmt: skip
    assert line("%RESPONSE_CODE% %RESP(:STATUS)% %RESP(A)%", stream) == "0 - -"
    assert line("%RESPONSE_FLAGS_LONG%", stream) == "DownstreamConnectionTermination"
    assert line("%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %ROUTE_NAME%", stream) == "- - -"
    assert line("%REQUEST_DURATION% %RESPONSE_DURATION%", stream) == "- -"


def test_an_upstream_that_could_not_be_reached() -> None:
    stream = LoggedStream(
        failure="delayed connect error: Connection refused",
        detail="upstream_reset{remote connection failure}",
    )
    text = "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
    assert line(text, stream) == "delayed_connect_error:_Connection_refused"
    assert line("%RESPONSE_CODE_DETAILS%", stream) == "upstream_reset{remote_connection_failure}"
    kept = line("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", stream)
    assert kept == "upstream_reset{remote connection failure}"


def test_durations_count_from_the_start() -> None:
    stream = LoggedStream(started=100.0, sent_at=100.5, answered_at=100.5305, ended=101.0)
    text = "%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION%"
    assert line(text, stream) == "1000 500 530"


def test_a_running_stream_has_lasted_until_now() -> None:
    stream = LoggedStream(started=time.monotonic() - 7200, ended=0.0)
    assert int(line("%DURATION%", stream)) >= 7_200_000


def test_start_time_is_wall_clock_time() -> None:
    before = time.time()
    stream = LoggedStream(started=time.monotonic() - 3600)
    assert abs(float(line("%START_TIME(%s.%6f)%", stream)) - (before - 3600)) < 60
    assert line("%START_TIME(%s)%%START_TIME(%3f)%", stream).isdigit()
    assert abs(float(line("%EMIT_TIME(%s.%6f)%", stream)) - before) < 60


def test_mutual_tls() -> None:
    stream = LoggedStream(down=SimpleNamespace(info=connection(PEER, sni="outbound_.80_._.b")))
    assert line("%REQUESTED_SERVER_NAME%", stream) == "outbound_.80_._.b"
    assert line("%REQUESTED_SERVER_NAME(HOST_FIRST)%", stream) == "shop.test"
    uris = line("%DOWNSTREAM_PEER_URI_SAN%", stream)
    assert uris == "spiffe://cluster.local/ns/a/sa/b,urn:x"
    text = "%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_ISSUER% %DOWNSTREAM_PEER_SERIAL%"
    assert line(text, stream) == "CN=b CN=ca 01ff"
    assert line("%DOWNSTREAM_PEER_FINGERPRINT_256%", stream) == "ab" * 32
    assert line("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_DNS_SAN%", stream) == "TLSv1.3 b.test"


def test_repeated_headers() -> None:
    """Lists that Envoy knows are one value; of others it logs the first."""
    pairs = [("x-a", "1"), ("x-a", "2"), ("accept", "a"), ("accept", "b"), ("x-empty", "")]
    stream = LoggedStream(request=request(pairs=pairs))
    assert line("%REQ(X-A)%|%REQ(ACCEPT)%|%REQ(X-EMPTY?X-A)%", stream) == "1|a,b|"


def test_the_original_path_of_a_rewritten_request() -> None:
    pairs = [("x-envoy-original-path", "/old?y=%20z")]  # as a route's rewrite leaves it
    stream = LoggedStream(request=request("/new?y=%20z", pairs))
    assert line("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(:PATH)%", stream) == (
        "/old?y=%20z /new?y=%20z"
    )
    assert line("%PATH(NQ)% %PATH(NQ:PATH)% %PATH(WQ:ORIG)%", stream) == "/old /new /old?y=%20z"
    assert line("%QUERY_PARAM(y)%|%QUERY_PARAMS(DECODED)%", stream) == " z|y= z"
    assert line("%REQ(X-ENVOY-ORIGINAL-PATH)% %PATH(WQ:ORIG)%") == "- -"


@pytest.mark.parametrize(
    ("edge", "hops", "skip_append", "forwarded", "remote"),
    [
        (False, 0, False, None, "10.1.10.23:50000"),
        (False, 0, False, "1.1.1.1, 2.2.2.2", "2.2.2.2:0"),
        (False, 1, False, "1.1.1.1, 2.2.2.2", "1.1.1.1:0"),
        (False, 2, False, "1.1.1.1, 2.2.2.2", "10.1.10.23:50000"),
        (False, 0, False, "unknown", "10.1.10.23:50000"),
        (False, 0, False, "2001:db8:0::1", "[2001:db8::1]:0"),
        (True, 0, False, "1.1.1.1,10.1.10.23", "10.1.10.23:50000"),
        (True, 1, False, "1.1.1.1,10.1.10.23", "1.1.1.1:0"),
        (True, 1, True, "1.1.1.1", "1.1.1.1:0"),
        (False, 0, False, "2001:DB8::1%1", "[2001:db8::1%1]:0"),
        (False, 0, False, "2001:db8::1%007", "[2001:db8::1%7]:0"),
        (False, 0, False, "2001:db8::1%0", "[2001:db8::1]:0"),
        (False, 0, False, "2001:db8::1%eth0", "10.1.10.23:50000"),
        (False, 0, False, "2001:db8::1%9999999999", "10.1.10.23:50000"),
        (False, 0, False, "10.1.2.3%1", "10.1.10.23:50000"),
    ],
)
def test_how_far_x_forwarded_for_is_believed(
    edge: bool, hops: int, skip_append: bool, forwarded: str | None, remote: str
) -> None:
    pairs = [("x-forwarded-for", forwarded)] if forwarded else []
    stream = LoggedStream(request=request(pairs=pairs), manager=manager(edge, hops, skip_append))
    assert line("%DOWNSTREAM_REMOTE_ADDRESS%", stream) == remote
    assert line("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", stream) == "10.1.10.23:50000"


def test_a_peer_can_not_forge_a_line() -> None:
    pairs = [
        ("user-agent", 'x" "y\\ \x1b[2J\t\xc2\x85'),
        ("x-utf8", "\xc3\xa9"),
        ("x-bytes", "\xe9"),
    ]
    stream = LoggedStream(
        request=request(pairs=pairs),
        down=SimpleNamespace(info=connection(sni="a\r\n[forged]")),
    )
    assert line('"%REQ(USER-AGENT)%"', stream) == r'"x\x22 \x22y\x5C \x1B[2J\x09\x85"'
    assert line("%REQUESTED_SERVER_NAME%", stream) == r"a\x0D\x0A[forged]"
    assert line("%REQ(X-UTF8)%", stream) == "é"
    raw = compile_format("%REQ(X-BYTES)%")(stream)
    assert raw == b"\xe9"


# ---------------------------------------------------------------------------- constants


def test_environment_and_hostname(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD", "shop-1")
    monkeypatch.delenv("NO_POD", raising=False)
    assert line("%ENVIRONMENT(POD)% %ENVIRONMENT(POD):4% %ENVIRONMENT(NO_POD)%") == "shop-1 shop -"
    assert constant("%ENVIRONMENT(POD)%!") == b"shop-1!"
    assert json_line({"v": "%ENVIRONMENT(NO_POD)%"}) == b'{"v":"-"}\n'


def test_a_constant_is_known_as_one() -> None:
    assert constant("a%%b") == b"a%b"
    assert constant("é") == "é".encode()
    assert constant("") == b""
    assert constant("%PROTOCOL%") is None


# ---------------------------------------------------------------------------- header values


def test_a_header_value_has_nothing_for_what_is_missing() -> None:
    stream = LoggedStream(host=None, status=0)
    assert header_value("[%REQ(X-NOT)%]", stream) == b"[]"
    text = "[%RESPONSE_FLAGS%][%UPSTREAM_HOST%][%RESPONSE_CODE%][%PROTOCOL%]"
    assert header_value(text, stream) == b"[-][][0][HTTP/1.1]"


def test_a_header_value_can_not_make_another_header() -> None:
    stream = LoggedStream(
        request=request(pairs=[("x-q", 'say "hi" \\')]),
        down=SimpleNamespace(info=connection(sni="a\r\nx-admin: 1")),
    )
    assert header_value("%REQUESTED_SERVER_NAME%", stream) == b"a  x-admin: 1"
    assert header_value("%REQ(X-Q)%", stream) == b'say "hi" \\'
    assert header_value("a\r\nb %PROTOCOL%", stream) == b"a  b HTTP/1.1"
    assert constant("a\r\nb") == b"a  b"


# ---------------------------------------------------------------------------- JSON


def test_json_keeps_types() -> None:
    fields: dict[str, object] = {
        "z": "%RESPONSE_CODE%",
        "duration": "%DURATION% ms",
        "missing": "%REQ(X-NOT)%",
        "missing text": "%REQ(X-NOT)%-x",
        "nested": {"bytes": "%BYTES_SENT%", "list": ["%PROTOCOL%", 5.0, True, None, 1.5, 3]},
        "plain %%": "100%%",
        "é": "é/<&>",
    }
    assert (
        json_line(fields)
        == (
            '{"duration":"250 ms","missing":null,"missing text":"--x",'
            '"nested":{"bytes":5,"list":["HTTP/1.1",5,true,null,1.5,3]},'
            '"plain %%":"100%","z":200,"é":"é/<&>"}\n'
        ).encode()
    )


def test_json_is_json_whatever_a_peer_sends() -> None:
    value = 'q" \\ \t\x01 \xe9'
    stream = LoggedStream(request=request(pairs=[("x-a", value), ("x-u", "\xc3\xa9")]))
    found = json.loads(json_line({"a": "%REQ(X-A)%", "b": "<%REQ(X-A)%>%REQ(X-U)%"}, stream))
    assert found == {"a": value, "b": f"<{value}>é"}


def test_an_empty_json_object() -> None:
    assert json_line({}) == b"{}\n"


def test_a_bad_json_value_is_refused() -> None:
    with pytest.raises(FormatError, match="%FOO%"):
        compile_json({"a": ["%FOO%"]})


def test_the_answer_s_headers() -> None:
    pairs = [("x-envoy-upstream-service-time", "7"), ("via", "a"), ("via", "b")]
    stream = LoggedStream(response=Response(200, headers(pairs)))
    text = "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %RESP(X-NO?VIA)%"
    assert line(text, stream) == "7 a,b"
