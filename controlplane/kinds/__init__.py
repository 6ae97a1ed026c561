"""Typed inputs: `parse.parse(text, source)`; one class per kind, all of them in `registry`."""
