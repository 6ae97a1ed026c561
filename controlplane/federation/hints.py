"""How often those who believe our bundle look at it. Apart from the endpoint that says so."""

from __future__ import annotations

REFRESH_HINT_S = 60
HOLD_S = 2.0 * REFRESH_HINT_S
"""By then everybody who follows the hint has a new bundle, even if one attempt failed."""
