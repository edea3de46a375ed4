"""A scorer behind an HTTP address: another Feltwire's `/api/v1/score`, or any that takes and gives JSON.

The form that two Feltwires speak is written down in docs/remote.md.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from pydantic import Field, field_validator

from feltwire import __version__
from feltwire.columns import SCORED_BY, TRUNCATED, UNSCORED, Member
from feltwire.errors import ConfigError, ModelAwayError, ModelError
from feltwire.interfaces import Predictions
from feltwire.loading import check_heads
from feltwire.models import _paths
from feltwire.models._answers import About, predictions, to_p
from feltwire.models._limits import LimitOptions, Limits
from feltwire.models._remote import AwayError, Caller, Refusal, RefusingError, Row
from feltwire.models._wire import Answer, Wire, let_go
from feltwire.text import profiles

# What is said of a text, and not of who asks, how often or where.
_OF_TEXT: Final = frozenset({400, 413, 414, 415, 422, 431, 451})
_LATER: Final = frozenset({408, 425, 429})
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")


class Options(LimitOptions):
    """How the far side is spoken to. None of these reaches it: its own query stands in `query`."""

    query: str = Field(default="", description="the far side's own query, percent-encoded: query=key%3Dvalue")
    name: str = Field(default="", description="what the column `model` holds: NAME@VERSION")
    texts: str = Field(default="texts", description="where the list of texts stands in the request, as a.b")
    text: str = Field(default="", description="one text a request, and where it stands in it, as a.b")
    body: str = Field(default="", description="what else the request holds: a JSON object")
    labels: str = Field(default="", description="where the probabilities stand: LABEL:PATH,… or HEAD/LABEL:PATH,…")
    error: str = Field(default="", description="where it stands that a text was refused: a path")
    header: str = Field(default="Authorization", description="the header that carries the secret")
    token_env: str = Field(default="", description="the environment variable that holds the secret")
    batch: int = Field(default=32, ge=1, le=10_000, description="texts in a request")
    timeout: float = Field(default=10.0, gt=0, le=600, description="seconds that a call may take")
    patience: float = Field(default=5.0, gt=0, le=3600, description="seconds until an engine is told that it waits")
    languages: frozenset[str] | None = Field(default=None, description="ISO 639-1 codes: en,de; without: any")
    profile: str = Field(
        default="",
        description="the cleaning profile that texts go through before; without: plain, of a Feltwire written",
    )

    @field_validator("languages", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [code.strip().lower() for code in value.split(",") if code.strip()] if isinstance(value, str) else value

    @field_validator("profile")
    @classmethod
    def _known(cls, value: str) -> str:
        if value and value not in profiles():
            raise ValueError(f"unknown cleaning profile; known are {', '.join(profiles())}")
        return value


class RestModel:
    """Implements `interfaces.Model`. What the far side tells of itself is asked when it is first needed."""

    def __init__(self, url: SplitResult, options: Options) -> None:
        """Raises ConfigError for options that do not go together. No call is made."""
        self.profile = options.profile or ("plain" if options.labels else "written")
        self._options = options
        self._wire = Wire(url, _headers(options), timeout_s=options.timeout)
        self._who = f"the model at {self._wire.place}"
        self._form = _Labelled(options) if options.labels else _Feltwire()
        self._extra = _object(options.body)
        self._about: About | None = None
        if options.labels:
            name = options.name or f"{url.hostname}@remote"
            self._about = About(name, options.languages, _checked(self._form.heads, "labels"))
        limits = Limits(f"{self._wire.place}?{url.query}", options)
        self._caller = Caller(
            self._call,
            limits,
            who=self._who,
            batch=1 if options.text else options.batch,
            concurrency=options.concurrency,
            patience_s=options.patience,
            price=lambda texts: options.cost_per_1000 / 1000,
        )
        self._caller.at_end.append(partial(let_go, self._wire.idle))

    @property
    def name(self) -> str:
        return self._known().name

    @property
    def languages(self) -> frozenset[str] | None:
        return self._known().languages

    @property
    def heads(self) -> Mapping[str, tuple[str, ...]]:
        return self._known().heads

    @property
    def neutral_band(self) -> tuple[float, float] | None:
        """Between these two probabilities of `positive` another Feltwire's sentiment is neutral."""
        return self._known().neutral_band

    @property
    def floors(self) -> Mapping[str, float]:
        """{head: the probability below which another Feltwire calls its label unknown}."""
        return self._known().floors

    @property
    def members(self) -> Sequence[Member]:
        """The models that another Feltwire's one is made of."""
        return self._known().members

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Raises ModelAwayError while the far side does not answer, RefusedError for texts that it refuses."""
        about = self._known()
        rows = self._caller.answer(texts)
        if self._known() is not about:
            raise ModelAwayError(f"{self._who} has another model now: its posts are scored by that one")
        return predictions(about, rows)

    def close(self) -> None:
        """End its thread and its connections."""
        self._caller.run(_do(self._wire.close))
        self._caller.close()

    def _known(self) -> About:
        about = self._about
        return about if about is not None else self._caller.run(self._ask())

    async def _ask(self) -> About:
        """Ask the far side what it is, by a call without texts."""
        if self._about is None:
            try:
                document = await self._post([])
            except (AwayError, RefusingError) as error:
                raise ModelAwayError(f"{self._who}: {error}") from error
            self._about = _told(document, self._options, self._who)
        return self._about

    async def _call(self, texts: Sequence[str]) -> Sequence[Row | Refusal]:
        about = await self._ask()
        document = await self._post(texts)
        if not (self._options.labels or (isinstance(document, dict) and (self._options.name or "model" in document))):
            raise RefusingError("its answer does not say which model it is of", of_text=False)
        if not self._options.labels and find_name(document, self._options) != about.name:
            self._about = None
            self._caller.forget()
            raise AwayError("it has another model now")
        return self._form.rows(document, len(texts), about)

    async def _post(self, texts: Sequence[str]) -> Any:
        given = (
            _paths.put(self._options.text, texts[0]) if self._options.text else _paths.put(self._options.texts, texts)
        )
        answer = await self._wire.post(msgspec.json.encode(_merged(self._extra, given)))
        _check_status(answer)
        try:
            return msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise RefusingError("its answer is no JSON", of_text=False) from error


async def _do(action: Any) -> None:
    action()


def open_rest(scheme: str, rest: str, options: Options) -> RestModel:
    """The model at `scheme:rest`, where rest is `//host/path`. Raises ConfigError."""
    try:
        url = urlsplit(f"{scheme}:{rest}" + (f"?{options.query}" if options.query else ""))
        wrong = not url.hostname or url.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise ConfigError(f"model '{scheme}:{rest}': expected {scheme}://host/path")
    if not re.fullmatch(r"[!-~]+", f"{url.netloc}{url.path}?{url.query}"):
        raise ConfigError(
            f"model '{scheme}:{rest}': spaces and letters beyond ASCII stand percent-encoded in an address"
        )
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", options.header):
        raise ConfigError(f"header = {options.header!r} is no name of an HTTP header")
    if "@" in url.netloc:
        raise ConfigError(f"model '{scheme}://…@{url.hostname}': no secret in an address; token_env names a variable")
    if options.text and not options.labels:
        raise ConfigError(f"model '{scheme}:{rest}': text needs labels, which say where the probabilities stand")
    return RestModel(url, options)


def _headers(options: Options) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": f"feltwire/{__version__}",
    }
    if options.token_env:
        secret = os.environ.get(options.token_env, "").strip()
        if not secret or not secret.isprintable() or not secret.isascii():
            raise ConfigError(
                f"token_env: the environment variable {options.token_env!r} holds no secret that a header can carry"
            )
        bearer = options.header.lower() == "authorization" and " " not in secret
        headers[options.header] = f"Bearer {secret}" if bearer else secret
    return headers


def _object(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ConfigError(f'body = {text!r}: expected a JSON object, as {{"options": {{"wait": true}}}}')
    return given


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            both[key] = _merged(one[key], other[key])
    return both


def _check_status(answer: Answer) -> None:
    """Raise unless the far side answered: AwayError for what may pass, RefusingError for the other 4xx."""
    status = answer.status
    if 200 <= status < 300:
        return
    if status in _LATER or status >= 500:
        fault = status >= 500 and status != 503
        raise AwayError(f"HTTP {status}", retry_after_s=answer.retry_after_s, fault=fault)
    raise RefusingError(f"HTTP {status}", of_text=status in _OF_TEXT)


def code_of(reason: Any) -> str:
    """A reason that the far side gave, as far as it is a code: a sentence might hold the text."""
    if isinstance(reason, dict):
        reason = next((reason[key] for key in ("code", "type", "error") if key in reason), None)
    return f"refused it: {reason}" if isinstance(reason, str) and _CODE.fullmatch(reason) else "refused it"


# Feltwire's own form


def _told(document: Any, options: Options, where: str) -> About:
    """What another Feltwire says of itself. Raises ModelError where it is none."""
    heads = document.get("heads") if isinstance(document, dict) else None
    if not isinstance(heads, dict) or not heads or not all(_is_strings(labels) and labels for labels in heads.values()):
        raise ModelError(f"{where} does not say what its heads are: give labels, which say where probabilities stand")
    languages = document.get("languages")
    spoken = frozenset(languages) if _is_strings(languages) else None
    spans = document.get("spans")
    return About(
        find_name(document, options),
        options.languages or spoken,
        _checked({str(head): tuple(labels) for head, labels in heads.items()}, where),
        frozenset(spans) & set(heads) if _is_strings(spans) else frozenset(),
        _band(document.get("neutral_band")),
        _floors(document.get("floors")),
        _members(document.get("members")),
    )


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


def find_name(document: Any, options: Options) -> str:
    """The name and version of the model that gave an answer."""
    told = document.get("model") if isinstance(document, dict) else None
    return options.name or (told if isinstance(told, str) and 0 < len(told) <= 200 and told.isprintable() else "remote")


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _checked(heads: Mapping[str, tuple[str, ...]], where: str) -> Mapping[str, tuple[str, ...]]:
    check_heads(heads, where)
    return heads


class _Feltwire:
    """`{"scores": [{head: {label: p}}, …]}`, a text that is refused as `{"error": code}`."""

    heads: Mapping[str, tuple[str, ...]] = {}

    def rows(self, document: Any, n: int, about: About) -> list[Row | Refusal]:
        given = document.get("scores")
        if not isinstance(given, list) or len(given) != n:
            raise RefusingError(f"its answer has no list of {n} scores", of_text=False)
        return [_feltwire_row(one, about) for one in given]


def _feltwire_row(given: Any, about: About) -> Row | Refusal:
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


# Any other form


class _Labelled:
    """Probabilities that stand where the option `labels` says."""

    def __init__(self, options: Options) -> None:
        self._one = bool(options.text)
        self._places: dict[str, dict[str, tuple[_paths.Path, _paths.Path]]] = {}
        for part in options.labels.split(","):
            label, colon, path = part.strip().partition(":")
            head, slash, name = label.rpartition("/")
            if not colon or not name:
                raise ConfigError(f"labels: {part!r} is no LABEL:PATH or HEAD/LABEL:PATH")
            self._places.setdefault(head if slash else "sentiment", {})[name] = self._path(path, "labels")
        self._error = self._path(options.error, "error") if options.error else None
        self.heads = {head: tuple(labels) for head, labels in self._places.items()}
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
