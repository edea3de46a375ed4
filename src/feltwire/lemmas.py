"""Words as dictionaries list them, without those that say little: what the cleaning profile `lemma` adds to `letters`.

English: the dictionary is that of the library simplemma (extra `train`), the list of words is our own.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final

from feltwire.errors import MissingExtraError

MAX_CHARS: Final = 40  # a longer word stands in no dictionary

# What turns a statement round stays as it was written: a dictionary makes "do" of "dont". Without apostrophes, as
# the profile `letters` writes them.
_NEGATIONS: Final = (
    "no nor not never none nobody nothing nowhere neither without hardly barely cannot aint arent cant couldnt didnt "
    "doesnt dont hadnt hasnt havent isnt mightnt mustnt neednt shant shouldnt wasnt werent wont wouldnt"
)

_STOP_WORDS: Final = (
    "a an the i me my mine myself we us our ours ourselves you your yours yourself yourselves u ur he him his himself "
    "she her hers herself it its itself they them their theirs themselves this that these those who whom whose which "
    "what im ive id youre youve youd youll hes shes thats theyre theyve weve were theres whats lets "
    "am is are was be been being have has had having do does did doing will would shall should can could may might "
    "must and or if because as until while of at by for with about between into through during before after above "
    "below to from up down in out on off over under again then once here there when where why how all any both each "
    "other some such own same so than s t d m o re ve y ll"
)
NEGATIONS: Final = frozenset(_NEGATIONS.split())
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())


def lemmatise(letters: str) -> str:
    """A text of the profile `letters` without stop words, each word as its dictionary form; hashtags stay.

    Raises MissingExtraError where simplemma is not installed.
    """
    lemma = _lookup()
    return " ".join([lemma(word) for word in letters.split() if word not in STOP_WORDS])


@cache
def _lookup() -> Callable[[str], str]:
    """The dictionary, behind a memory of the words that came last."""
    try:
        from simplemma import lemmatize
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the cleaning profile 'lemma' needs the library 'simplemma': pip install 'feltwire[train]'"
        ) from error

    @lru_cache(maxsize=65_536)
    def lemma(word: str) -> str:
        if word in NEGATIONS or word[0] == "#" or len(word) > MAX_CHARS:
            return word
        found = str(lemmatize(word, lang="en")).lower()
        return found if found.isalpha() else word  # not "wi-fi" for "wifi": letters only

    return lemma
