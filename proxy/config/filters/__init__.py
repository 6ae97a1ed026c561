"""The decoders of HTTP filters: type URL -> decoder of that filter's configuration.

A decoder takes the packed message's bytes and the path for errors, answers the filter's own frozen
configuration, or raises Rejected. A supported filter stands here and, as a builder, in
`proxy.filters.FILTERS`; its messages' fields stand in `fields_filters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.config.filters import decode_router

FilterDecoder = Callable[[bytes, str], object]
FilterDecoders = Mapping[str, FilterDecoder]

DECODERS: FilterDecoders = {decode_router.TYPE_URL: decode_router.decode}
