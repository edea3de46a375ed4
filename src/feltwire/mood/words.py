"""The words of posts, counted on demand: the lake stores no words.

A word is a run of letters, marks, digits and apostrophes of a text in lower case that begins with a letter; links,
handles and hashtags are none, and words that say little are left out (of English all, of six other languages those
that mean nothing else in English). The expressions are read alike by
RE2 (pyarrow) and by Rust's `regex` (DataFusion), so that a filter finds exactly the posts that the count counted.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feltwire.lake.reader import literal
from feltwire.lemmas import STOP_WORDS

MIN_CHARS: Final = 2
MAX_CHARS: Final = 40

_IN_WORD: Final = r"\p{L}\p{M}\p{N}_"
NOISE: Final = rf"(?:https?://|www\.)[^\s]*|[#＃][{_IN_WORD}]+|[@＠][{_IN_WORD}]+(?:[.@-][{_IN_WORD}]+)*|&#?[a-z0-9]+;"
"""What is no word, in a text in lower case: links, hashtags, handles, HTML entities."""
_BETWEEN: Final = rf"[^{_IN_WORD}']+"
_ELSEWHERE: Final = """
    al con como cuando de del donde el ella ellos en ese esa eso esta este esto está están la las le les lo los más
    mi muy nos para pero por porque que qué se ser si sobre su sus también todo un una unos y ya
    às com da das dos ela ele em essa esse está eu foi isso isto já mais mas meu minha muito na não nas nós num numa
    os ou pela pelo quando quem são sem seu seus só sua suas também tem um uma umas você à é
    au aux avec ce ces cette dans des du elle elles est et il ils je leur mais même ne nous on ont ou où par pas qui
    sa sans ses sont sur très tu une vos vous ça été être
    aber als am auch auf aus bei das dem der des durch ein eine einem einen einer es für hab habe ich ihr im ist kein
    keine mich mir mit nach nicht noch nur oder sich sie sind über um und uns von vom wenn wie wir zu zum zur
    alla anche che chi ci dei della delle di gli il io nel nella non più sono tra una uno
    aan bij dat dit een en geen het hij ik je maar naar niet nog ook op te uit van voor wat wij zijn
"""
"""Words of Spanish, Portuguese, French, German, Italian and Dutch that say little: articles, pronouns, prepositions."""
_LITTLE: Final = (
    STOP_WORDS
    | frozenset(_ELSEWHERE.split())
    | {"rt", "amp", "via", "just", "get", "got", "im", "ive", "dont", "really", "too", "very"}
)


def words(texts: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """(row, word) of every different word of every text, as int64 and string."""
    plain = pc.utf8_lower(pc.fill_null(texts.cast(pa.string()), ""))
    plain = pc.replace_substring(pc.replace_substring_regex(plain, NOISE, " "), "’", "'")
    pieces = pc.split_pattern_regex(plain, _BETWEEN)
    if isinstance(pieces, pa.ChunkedArray):
        pieces = pieces.combine_chunks()
    found = pa.table({"row": pc.cast(pc.list_parent_indices(pieces), pa.int64()), "word": pc.list_flatten(pieces)})
    found = found.set_column(1, "word", pc.utf8_trim(found["word"], "'"))
    length = pc.utf8_length(found["word"])
    good = pc.and_(pc.greater_equal(length, MIN_CHARS), pc.less_equal(length, MAX_CHARS))
    good = pc.and_(good, pc.match_substring_regex(found["word"], r"^[\p{L}\p{M}]"))
    bare = pc.replace_substring(found["word"], "'", "")
    good = pc.and_(good, pc.invert(pc.is_in(bare, pa.array(sorted(_LITTLE)))))
    found = found.filter(good).group_by(["row", "word"], use_threads=False).aggregate([]).combine_chunks()
    return found["row"].combine_chunks(), found["word"].combine_chunks()


def has_word(column: str, word: str) -> str:
    """SQL that is true where the text in `column` has the word; nowhere, where it is none by the rules above."""
    wanted = word.lower().replace("’", "'")
    if words(pa.array([wanted], pa.string()))[1].to_pylist() != [wanted]:
        return "false"
    plain = f"replace(regexp_replace(lower({column}), {literal(NOISE)}, ' ', 'g'), '’', '''')"
    pattern = rf"(^|[^{_IN_WORD}'])'*{escaped(wanted)}'*($|[^{_IN_WORD}'])"
    matches = f"regexp_like({plain}, {literal(pattern)})"
    # Most posts lack the word, and looking for it as it stands is quicker than the expression.
    return matches if "'" in wanted else f"(contains(lower({column}), {literal(wanted)}) and {matches})"


def escaped(text: str) -> str:
    """A text as an expression of RE2 and of Rust that matches it alone."""
    return "".join(f"\\{char}" if char in r"\.+*?()|[]{}^$#&-~/" else char for char in text)
