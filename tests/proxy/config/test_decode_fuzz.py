"""Whatever bytes a control plane sends: a model or Rejected, never another exception."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from protos.types import CDS, EDS, LDS, RDS, SDS
from proxy.config.decode import RESOURCES, decode
from proxy.config.rejected import Rejected
from tests.support.envoy_resources import (
    cluster,
    endpoints,
    listener,
    routes,
    tls_cluster,
    trust_bundle,
)
from tests.support.pki import Authority

SEEDS: list[tuple[str, Message]] = [
    (CDS, cluster("a")),
    (CDS, tls_cluster("a", "ROOTCA")),
    (EDS, endpoints("a", 1, 2)),
    (LDS, listener("a", "r", 80)),
    (RDS, routes("r", "a")),
    (SDS, trust_bundle("ROOTCA", Authority().pem)),
]
WORDS = ("", "a", "*", "a*", "[", "%", "127.0.0.1", ":authority", "x" * 300, "ä", "\x00", "-1")


def judged(type_url: str, body: bytes) -> None:
    try:
        decode(type_url, body)
    except Rejected as error:
        assert str(error)


@pytest.mark.parametrize(("type_url", "seed"), SEEDS, ids=lambda value: None)
def test_broken_bytes(type_url: str, seed: Message) -> None:
    chance = random.Random(7)
    whole = seed.SerializeToString()
    for _ in range(400):
        body = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        judged(type_url, bytes(body[: chance.randint(0, len(body))]) or b"\x00")


@pytest.mark.parametrize("type_url", sorted(RESOURCES))
def test_random_values_in_every_field(type_url: str) -> None:
    """Numbers that no enum has, addresses that are none, oneofs set at random ..."""
    chance = random.Random(11)
    for seed in (each for kind, each in SEEDS if kind == type_url):
        for _ in range(400):
            message = RESOURCES[type_url].message()
            message.CopyFrom(seed)
            for _ in range(chance.randint(1, 4)):
                spoil(message, chance, depth=0)
            judged(type_url, message.SerializeToString())


def spoil(message: Message, chance: random.Random, depth: int) -> None:
    """Sets a random field, deep inside where possible."""
    deeper: list[Message] = []
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        deeper.extend(value if field.is_repeated else [value])
    if deeper and depth < 8 and chance.random() < 0.8:
        spoil(chance.choice(deeper), chance, depth + 1)
        return
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if fields:
        put(message, chance.choice(fields), chance)


def put(message: Message, field: Any, chance: random.Random) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return
    if kind is not None:
        target = getattr(message, field.name)
        inner = target.add() if field.is_repeated else target
        if not field.is_repeated:
            target.SetInParent()
        if inner.DESCRIPTOR.fields and chance.random() < 0.7:
            put(inner, chance.choice(list(inner.DESCRIPTOR.fields)), chance)
        return
    value = random_value(field, chance)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def random_value(field: Any, chance: random.Random) -> object:
    cpp = field.cpp_type
    if cpp == FieldDescriptor.CPPTYPE_STRING:
        word = chance.choice(WORDS)
        return word.encode() if field.type == FieldDescriptor.TYPE_BYTES else word
    if cpp == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if cpp in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice((0.0, -1.0, 1e300 if cpp == 5 else 1.0, float("nan"), float("inf")))
    return chance.choice((0, 1, 2, 3, 7, 99, 65_536, 2**31 - 1))
