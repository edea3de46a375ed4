"""What things are called on more than one page: ranges, and emoji for those who hear them."""

from typing import Final

import emoji as emoji_names

from feltwire.web.dashboard.view import BEFORE_WORDS, RANGE_WORDS, View

FEW_BEFORE: Final = "too few posts before"
"""What stands in place of a change where the range before has fewer than `data.FEW` scored posts."""


def emoji_name(sign_: str) -> str:
    """How an emoji is called: "enraged face"."""
    found = emoji_names.demojize(sign_, delimiters=("", "")).replace("_", " ").replace("-", " ")
    return found if found != sign_ else "emoji"


def range_words(view: View) -> str:
    """What the range is called: "last hour", "this range"."""
    return "this range" if view.custom else RANGE_WORDS[view.range]


def before_words(view: View) -> str:
    """What the range before is called."""
    return "the range before" if view.custom else BEFORE_WORDS[view.range]
