"""`frozen` (protos.frozen) under the name by which the model knows it."""

from __future__ import annotations

from protos.frozen import frozen as frozen
