"""Spans, how their identity travels in headers, and how collectors are told of them."""
