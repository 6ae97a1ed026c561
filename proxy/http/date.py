"""The value of a `date` header: IMF-fixdate (RFC 9110, 5.6.7). Reads no clock."""

from __future__ import annotations

from time import gmtime
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


def http_date(when_s: float) -> str:
    """when_s: seconds since the epoch."""
    year, month, day, hour, minute, second, weekday, *_ = gmtime(when_s)
    time = f"{hour:02}:{minute:02}:{second:02}"
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {time} GMT"
