"""Each filter by itself: a configuration, a request, what it does."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.health_check.v3 import health_check_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from proxy.config import filters
from proxy.config.filters import DECODERS, PER_ROUTE, STRUCTS
from proxy.filters import FILTERS
from proxy.filters.api import WAIT, FilterContext, Hooks, Reply
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response
from tests.support.filters import Clock, FakeStream, context, request

ALL = {"numerator": 100}


def decoded(message: Message, table: Any = DECODERS) -> Any:
    url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    return table[url](message.SerializeToString(), "config")


def hooks(
    message: Message, given: FilterContext | None = None, overrides: tuple[Any, ...] = ()
) -> Hooks:
    url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    found = FILTERS[url](decoded(message), given or context()).for_route(overrides)
    assert found is not None
    return found


def asked(found: Hooks, stream: FakeStream) -> Any:
    assert found.on_request is not None
    return found.on_request(stream)


@pytest.mark.parametrize("table", [DECODERS, PER_ROUTE, STRUCTS, FILTERS])
def test_what_a_table_names_is_there(table: Mapping[str, Any]) -> None:
    """Each by the type URLs of its own module."""
    for url, found in table.items():
        module = import_module(found.__module__)
        assert url in (module.TYPE_URL, getattr(module, "PER_ROUTE_TYPE_URL", ""))
    assert "type.googleapis.com/nothing" not in table
    with pytest.raises(KeyError):
        table["type.googleapis.com/nothing"]


def test_every_decoder_stands_in_a_table() -> None:
    folder = Path(filters.__file__).parent
    modules = {path.stem for path in folder.glob("decode_*.py")} - {"decode_per_route"}
    named = [*DECODERS.values(), *PER_ROUTE.values(), *STRUCTS.values()]
    assert {each.__module__.rpartition(".")[2] for each in named} == modules


def test_every_filter_that_is_decoded_can_be_built() -> None:
    routers = {url for url in DECODERS if url.endswith(".Router")}
    assert (set(DECODERS) | set(STRUCTS)) - routers == set(FILTERS)


# ---------------------------------------------------------------------------- fault


def fault(**plain: Any) -> fault_pb2.HTTPFault:
    return json_format.ParseDict(plain, fault_pb2.HTTPFault())


def test_a_delay_waits_and_then_aborts() -> None:
    clock = Clock()
    given = context(clock)
    plain = fault(
        delay={"fixed_delay": "2s", "percentage": ALL},
        abort={"http_status": 503, "percentage": ALL},
    )
    found, stream = hooks(plain, given), FakeStream()
    active = given.stats.gauge("http.in.fault.active_faults")
    assert asked(found, stream) is WAIT
    assert (active.value, stream.flags) == (1, "DI")
    clock.advance(1.9)
    assert stream.resumed == []
    clock.advance(0.2)
    [answer] = stream.resumed
    assert isinstance(answer, Reply)
    assert (answer.status, answer.flag, answer.body) == (503, "FI", b"fault filter abort")
    assert active.value == 1, "delay and abort are one fault"
    assert found.at_end is not None
    found.at_end(stream)
    assert active.value == 0


def test_a_client_that_leaves_during_a_delay_is_not_aborted() -> None:
    clock = Clock()
    given = context(clock)
    plain = fault(
        delay={"fixed_delay": "2s", "percentage": ALL},
        abort={"http_status": 503, "percentage": ALL},
    )
    found, stream = hooks(plain, given), FakeStream()
    asked(found, stream)
    assert found.at_end is not None
    found.at_end(stream)
    clock.advance(3)
    assert stream.resumed == []
    assert given.stats.counter("http.in.fault.aborts_injected").value == 0


def test_a_share_of_the_requests_is_aborted() -> None:
    found = hooks(fault(abort={"http_status": 503, "percentage": {"numerator": 20}}))
    aborted = sum(asked(found, FakeStream()) is not None for _ in range(2000))
    assert 320 < aborted < 480


def test_a_slow_answer() -> None:
    limit = {"fixed_limit": {"limit_kbps": 4}, "percentage": ALL}
    stream = FakeStream()
    assert asked(hooks(fault(response_rate_limit=limit)), stream) is None
    assert stream.throttled == 4096


def test_callers_are_counted_up_to_a_bound() -> None:
    given = context()
    found = hooks(fault(abort={"http_status": 503, "percentage": ALL}), given)
    for number in range(300):
        asked(found, FakeStream(request=request(x_envoy_downstream_service_cluster=f"c{number}")))
    names = [name for name in given.stats.counters if name.endswith(".aborts_injected")]
    assert len(names) == 256 + 1


# ---------------------------------------------------------------------------- CORS


def test_the_origin_is_remembered_for_the_answer() -> None:
    policy = decoded(
        json_format.ParseDict(
            {"allow_origin_string_match": [{"exact": "http://a"}], "allow_credentials": True},
            cors_pb2.CorsPolicy(),
        ),
        PER_ROUTE,
    )
    found, stream = (
        hooks(cors_pb2.Cors(), overrides=(policy,)),
        FakeStream(request(origin="http://a")),
    )
    assert asked(found, stream) is None
    stream.request.headers.remove(b"origin")
    response = Response(200, Headers())
    assert found.on_response is not None
    found.on_response(stream, response)
    assert response.headers.get(b"access-control-allow-origin") == b"http://a"
    assert response.headers.get(b"access-control-allow-credentials") == b"true"


def test_cors_without_a_policy_does_nothing() -> None:
    url = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
    assert FILTERS[url](decoded(cors_pb2.Cors()), context()).for_route(()) is None


# ---------------------------------------------------------------------------- header mutation


def mutated(response: Response | None = None, **mutations: Any) -> Request:
    message = json_format.ParseDict({"mutations": mutations}, header_mutation_pb2.HeaderMutation())
    found, stream = hooks(message), FakeStream(request("/p?b=2&a=%41", x_a="1", content_length="5"))
    stream.request.length = 5
    if found.on_request is not None:
        found.on_request(stream)
    if found.on_response is not None and response is not None:
        found.on_response(stream, response)
    return stream.request


def test_a_body_without_its_length_goes_in_chunks() -> None:
    assert mutated(request_mutations=[{"remove": "content-length"}]).length == CHUNKED
    response = Response(200, Headers.of([(b"content-length", b"3")]), 3)
    matcher = {"remove_on_match": {"key_matcher": {"prefix": "content-"}}}
    mutated(response, response_mutations=[matcher])
    assert (response.length, len(response.headers)) == (CHUNKED, 0)


@pytest.mark.parametrize(
    ("mutation", "path"),
    [
        ({"remove": "a"}, b"/p?b=2"),
        ({"append": {"record": {"key": "c", "value": "x y&"}}}, b"/p?a=%41&b=2&c=x%20y%26"),
        (
            {"append": {"record": {"key": "a", "value": "n"}, "action": "ADD_IF_ABSENT"}},
            b"/p?a=%41&b=2",
        ),
        (
            {"append": {"record": {"key": "a", "value": "n"}, "action": "OVERWRITE_IF_EXISTS"}},
            b"/p?a=n&b=2",
        ),
    ],
)
def test_query_parameters(mutation: Any, path: bytes) -> None:
    assert mutated(query_parameter_mutations=[mutation]).path == path


# ---------------------------------------------------------------------------- local rate limit


def test_each_connection_has_a_bucket_when_it_is_to() -> None:
    plain = {
        "stat_prefix": "l",
        "token_bucket": {"max_tokens": 1, "fill_interval": "100s"},
        "filter_enabled": {"default_value": ALL},
        "filter_enforced": {"default_value": ALL},
        "local_rate_limit_per_downstream_connection": True,
    }
    found = hooks(json_format.ParseDict(plain, local_rate_limit_pb2.LocalRateLimit()))
    one, other = FakeStream(), FakeStream()
    assert asked(found, one) is None
    refused = asked(found, one)
    assert (refused.status, refused.flag) == (429, "RL")
    assert asked(found, other) is None


# ---------------------------------------------------------------------------- health check


def checks(given: FilterContext, **plain: Any) -> Hooks:
    headers = [{"name": ":path", "string_match": {"exact": "/healthz"}}]
    message = json_format.ParseDict({"headers": headers, **plain}, health_check_pb2.HealthCheck())
    return hooks(message, given)


def test_an_administrator_can_make_it_fail() -> None:
    given = context(failing=lambda: True)
    found, check, other = checks(given, pass_through_mode=True), request("/healthz"), request("/")
    stream = FakeStream(check)
    assert asked(found, stream).status == 503
    assert stream.health_check
    response, stream = Response(200, Headers()), FakeStream(other)
    assert asked(found, stream) is None
    assert found.on_response is not None
    found.on_response(stream, response)
    assert response.headers.get(b"x-envoy-immediate-health-check-fail") == b"true"


def test_an_answer_is_kept_until_its_window_ends() -> None:
    clock = Clock()
    found = checks(context(clock), pass_through_mode=True, cache_time="10s")
    stream = FakeStream(request("/healthz"))
    assert asked(found, stream) is None
    clock.advance(4)
    assert found.on_response is not None
    found.on_response(stream, Response(500, Headers()))
    kept = asked(found, FakeStream(request("/healthz")))
    assert (kept.status, kept.flag, kept.detail) == (500, "LH", "health_check_cached")
    clock.advance(6.1)
    assert asked(found, FakeStream(request("/healthz"))) is None


# ---------------------------------------------------------------------------- buffer


def test_a_chunked_request_gets_its_length_when_it_is_whole() -> None:
    message = json_format.ParseDict({"max_request_bytes": 10}, buffer_pb2.Buffer())
    found = hooks(message)
    stream = FakeStream(request(method="POST"), request_done=False)
    stream.request.length = CHUNKED
    assert asked(found, stream) is WAIT
    assert stream.buffer_limit_bytes == 10
    stream.body_received = 6
    assert found.on_request_data is not None and found.on_request_end is not None
    assert found.on_request_data(stream, b"abcdef", False) == b"abcdef"
    found.on_request_end(stream, None)
    assert stream.resumed == [None]
    assert (stream.request.length, stream.request.headers.get(b"content-length")) == (6, b"6")


def test_too_much_is_refused() -> None:
    message = json_format.ParseDict({"max_request_bytes": 10}, buffer_pb2.Buffer())
    found, stream = hooks(message), FakeStream(request(method="POST"), request_done=False)
    asked(found, stream)
    stream.body_received = 11
    assert found.on_request_data is not None and found.on_request_end is not None
    found.on_request_data(stream, b"x" * 11, False)
    found.on_request_end(stream, None)
    [answer] = stream.resumed
    assert isinstance(answer, Reply) and answer.status == 413
