import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PeakEwma(_message.Message):
    __slots__ = ("decay_time", "aggregation_interval", "max_samples_per_host", "default_rtt", "penalty_value")
    DECAY_TIME_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_SAMPLES_PER_HOST_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_RTT_FIELD_NUMBER: _ClassVar[int]
    PENALTY_VALUE_FIELD_NUMBER: _ClassVar[int]
    decay_time: _duration_pb2.Duration
    aggregation_interval: _duration_pb2.Duration
    max_samples_per_host: _wrappers_pb2.UInt32Value
    default_rtt: _duration_pb2.Duration
    penalty_value: _wrappers_pb2.DoubleValue
    def __init__(self, decay_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., aggregation_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_samples_per_host: _Optional[_Union[_wrappers_pb2.UInt32Value, _Mapping]] = ..., default_rtt: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., penalty_value: _Optional[_Union[_wrappers_pb2.DoubleValue, _Mapping]] = ...) -> None: ...
