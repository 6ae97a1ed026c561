import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetRotationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RotateRequest(_message.Message):
    __slots__ = ("target", "without")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIELD_NUMBER: _ClassVar[int]
    target: str
    without: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, target: _Optional[str] = ..., without: _Optional[_Iterable[str]] = ...) -> None: ...

class AbortRotationRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: str
    def __init__(self, target: _Optional[str] = ...) -> None: ...

class Rotation(_message.Message):
    __slots__ = ("phase", "issuing", "other", "waiting_for", "proxies", "problem")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ISSUING_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    phase: str
    issuing: str
    other: str
    waiting_for: str
    proxies: _containers.RepeatedCompositeFieldContainer[ProxyProgress]
    problem: str
    def __init__(self, phase: _Optional[str] = ..., issuing: _Optional[str] = ..., other: _Optional[str] = ..., waiting_for: _Optional[str] = ..., proxies: _Optional[_Iterable[_Union[ProxyProgress, _Mapping]]] = ..., problem: _Optional[str] = ...) -> None: ...

class ProxyProgress(_message.Message):
    __slots__ = ("node_id", "identity", "state", "detail")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    identity: str
    state: str
    detail: str
    def __init__(self, node_id: _Optional[str] = ..., identity: _Optional[str] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class RehearseRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: str
    def __init__(self, target: _Optional[str] = ...) -> None: ...

class Rehearsal(_message.Message):
    __slots__ = ("proxies",)
    PROXIES_FIELD_NUMBER: _ClassVar[int]
    proxies: _containers.RepeatedCompositeFieldContainer[ProxyProgress]
    def __init__(self, proxies: _Optional[_Iterable[_Union[ProxyProgress, _Mapping]]] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("what", "reason", "restore", "lists")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    what: str
    reason: str
    restore: bool
    lists: bytes
    def __init__(self, what: _Optional[str] = ..., reason: _Optional[str] = ..., restore: _Optional[bool] = ..., lists: _Optional[bytes] = ...) -> None: ...

class GetRevocationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Revocations(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("what", "reason", "at")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    what: str
    reason: str
    at: _timestamp_pb2.Timestamp
    def __init__(self, what: _Optional[str] = ..., reason: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
