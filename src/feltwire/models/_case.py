"""Case as token types, for encoders whose tokenizer lowers everything: "US" and "us", "GREAT" and "great" differ."""

import re
from typing import Final

from tokenizers import Encoding

LOWER: Final = 0
CAPITALISED: Final = 1
UPPER: Final = 2

_CAPITAL_WORD: Final = re.compile(r"(?<![^\W_])[A-ZÀ-ÖØ-Þ][^\W_]*")


def case_types(text: str, encoding: Encoding) -> list[int]:
    """The type of every token: of words that begin with a capital CAPITALISED, all in capitals (from two letters on)
    UPPER, all others LOWER. Training and serving both ask here."""
    types = [LOWER] * len(encoding.ids)
    if text.islower():
        return types
    offsets = None
    for match in _CAPITAL_WORD.finditer(text):
        token = encoding.char_to_token(match.start())
        if token is None:  # cut off, or dropped by the tokenizer
            continue
        offsets = offsets or encoding.offsets
        word = match[0]
        kind = UPPER if len(word) > 1 and word.isupper() else CAPITALISED
        end = match.end()
        while token < len(types) and match.start() <= offsets[token][0] < end:
            types[token] = kind
            token += 1
    return types
