"""The two forms of an answer over HTTP: Feltwire's own, and probabilities that stand where `labels` says."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from feltwire.columns import SCORED_BY, TRUNCATED, UNSCORED, Member
from feltwire.errors import ConfigError, ModelError
from feltwire.loading import check_heads
from feltwire.models import _paths
from feltwire.models._answers import About, to_p
from feltwire.models._remote import Refusal, RefusingError, Row

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")


def code_of(reason: Any) -> str:
    """A reason that the far side gave, as far as it is a code: a sentence might hold the text."""
    if isinstance(reason, dict):
        reason = next((reason[key] for key in ("code", "type", "error") if key in reason), None)
    return f"refused it: {reason}" if isinstance(reason, str) and _CODE.fullmatch(reason) else "refused it"


def checked(heads: Mapping[str, tuple[str, ...]], where: str) -> Mapping[str, tuple[str, ...]]:
    """The heads, where their labels are those that Feltwire knows. Raises ModelError."""
    check_heads(heads, where)
    return heads


class FeltwireForm:
    """`{"scores": [{head: {label: p}}, …]}`, a text that is refused as `{"error": code}`."""

    heads: Mapping[str, tuple[str, ...]] = {}

    def rows(self, document: Any, n: int, about: About) -> list[Row | Refusal]:
        given = document.get("scores")
        if not isinstance(given, list) or len(given) != n:
            raise RefusingError(f"its answer has no list of {n} scores", of_text=False)
        return [_row(one, about) for one in given]


def _row(given: Any, about: About) -> Row | Refusal:
    if not isinstance(given, dict):
        return Refusal("gave no scores")
    if "error" in given:
        return Refusal(code_of(given["error"]))
    row: dict[str, Any] = {}
    who = given.get(SCORED_BY)
    if about.members:
        row[SCORED_BY] = who if isinstance(who, int) and 0 <= who < len(about.members) else 0
    if given.get("scored") is False:  # there is nothing in the text to score: what stands in its heads is passed over
        filler = {
            head: [] if head in about.spans else [1 / len(names)] * len(names) for head, names in about.heads.items()
        }
        return {**row, **filler, UNSCORED: True}
    for head, labels in about.heads.items():
        of_head = given.get(head)
        if of_head is None and about.members and head not in about.members[row[SCORED_BY]].heads:
            row[head] = [] if head in about.spans else [0.0] * len(labels)
            continue
        if head in about.spans:
            row[head] = of_head if isinstance(of_head, list) else []
        else:
            row[head] = [to_p(of_head.get(label)) for label in labels] if isinstance(of_head, dict) else [math.nan]
            if any(math.isnan(p) for p in row[head]):
                return Refusal(f"gave no probabilities of {head}")
    row[TRUNCATED] = given.get(TRUNCATED) is True
    return row


def told(document: Any, where: str, *, name: str, languages: frozenset[str] | None) -> About:
    """What another Feltwire says of itself; `name` and `languages`, where given, count for more. Raises ModelError
    where it is none."""
    heads = document.get("heads") if isinstance(document, dict) else None
    if not isinstance(heads, dict) or not heads or not all(_is_strings(labels) and labels for labels in heads.values()):
        raise ModelError(f"{where} does not say what its heads are: give labels, which say where probabilities stand")
    own = document.get("languages")
    spoken = frozenset(own) if _is_strings(own) else None
    spans = document.get("spans")
    return About(
        find_name(document, name),
        languages or spoken,
        checked({str(head): tuple(labels) for head, labels in heads.items()}, where),
        frozenset(spans) & set(heads) if _is_strings(spans) else frozenset(),
        _band(document.get("neutral_band")),
        _floors(document.get("floors")),
        _members(document.get("members")),
    )


def find_name(document: Any, name: str) -> str:
    """The name and version of the model that gave an answer: `name`, or without one what the answer says."""
    own = document.get("model") if isinstance(document, dict) else None
    return name or (own if isinstance(own, str) and 0 < len(own) <= 200 and own.isprintable() else "remote")


def _band(given: Any) -> tuple[float, float] | None:
    match given:
        case [int() | float() as low, int() | float() as high]:
            return float(low), float(high)
    return None


def _floors(given: Any) -> dict[str, float]:
    found = given if isinstance(given, dict) else {}
    return {str(head): float(p) for head, p in found.items() if isinstance(p, int | float)}


def _members(given: Any) -> tuple[Member, ...]:
    listed = given if isinstance(given, list) else []
    known = [one for one in listed if isinstance(one, dict) and _is_strings(one.get("heads"))]
    return tuple(Member(str(one.get("name")), frozenset(one["heads"])) for one in known) if known == listed else ()


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


class LabelledForm:
    """Probabilities that stand where the option `labels` says."""

    def __init__(self, labels: str, *, error: str, one: bool) -> None:
        """`labels` and `error` are the options; `one`: a request holds one text. Raises ConfigError."""
        self._one = one
        self._places: dict[str, dict[str, tuple[_paths.Path, _paths.Path]]] = {}
        for part in labels.split(","):
            label, colon, path = part.strip().partition(":")
            head, slash, name = label.rpartition("/")
            if not colon or not name:
                raise ConfigError(f"labels: {part!r} is no LABEL:PATH or HEAD/LABEL:PATH")
            self._places.setdefault(head if slash else "sentiment", {})[name] = self._path(path, "labels")
        self._error = self._path(error, "error") if error else None
        self.heads = {head: tuple(places) for head, places in self._places.items()}
        if len(self.heads.get("sentiment", ("", ""))) < 2:
            raise ConfigError("labels: a sentiment needs two labels at least, whose probabilities sum to 1")

    def _path(self, text: str, option: str) -> tuple[_paths.Path, _paths.Path]:
        each, inner = _paths.parse(text, option)
        if self._one and each is not None:
            raise ConfigError(f"{option}: {text!r} has [*], but a request holds one text")
        if not self._one and each is None:
            raise ConfigError(f"{option}: {text!r} has no [*], which stands for the texts of a request")
        return each or (), inner

    def rows(self, document: Any, n: int, about: About) -> list[Row | Refusal]:
        lists: dict[_paths.Path, list[Any]] = {}
        for each, _ in [place for labels in self._places.values() for place in labels.values()]:
            lists[each] = self._list(document, each, n)
        if self._error:
            errors = _paths.find(document, self._error[0]) if not self._one else [document]
            lists.setdefault(self._error[0], errors if isinstance(errors, list) and len(errors) == n else [None] * n)
        return [self._row({each: given[i] for each, given in lists.items()}) for i in range(n)]

    def _list(self, document: Any, each: _paths.Path, n: int) -> list[Any]:
        if self._one:
            return [document]
        given = _paths.find(document, each)
        if not isinstance(given, list) or len(given) != n:
            raise RefusingError(f"its answer has no list of {n} where labels say", of_text=False)
        return given

    def _row(self, parts: Mapping[_paths.Path, Any]) -> Row | Refusal:
        if self._error:
            said = _paths.find(parts[self._error[0]], self._error[1])
            if said is not _paths.MISSING and said:
                return Refusal(code_of(said))
        row: dict[str, Any] = {}
        for head, places in self._places.items():
            row[head] = [to_p(_paths.find(parts[each], inner)) for each, inner in places.values()]
            for label, p in zip(places, row[head], strict=True):
                if math.isnan(p):
                    return Refusal(f"gave no probability of {label}")
        return row
