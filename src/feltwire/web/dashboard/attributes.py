"""Attributes whose names are no names in Python: `aria-label`, `data-goto`."""

from typing import Any


def given(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes as keywords of a component; Dash's types know only those that HTML itself names."""
    return attributes
