"""Decodes `envoy.filters.http.peak_ewma`, which has nothing to be set."""

from __future__ import annotations

from protos.gen.contrib import peak_ewma_filter_pb2
from proxy.config.decode_common import PREFIX, parse

TYPE_URL = PREFIX + peak_ewma_filter_pb2.PeakEwmaConfig.DESCRIPTOR.full_name


def decode(value: bytes, path: str) -> None:
    parse(peak_ewma_filter_pb2.PeakEwmaConfig, value, path)
