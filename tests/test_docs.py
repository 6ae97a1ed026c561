"""The generated page says what the code does."""

from __future__ import annotations

from docs.generate import PAGE, page
from proxy.config.fields import FIELDS


def test_the_page_of_fields_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_message_of_the_table_has_a_section() -> None:
    text = page()
    for name in FIELDS:
        assert f"\n## {name}\n" in text
