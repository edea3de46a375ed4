"""A scorer behind an HTTP address: another Feltwire's `/api/v1/score`, or any that takes and gives JSON.

The form that two Feltwires speak is written down in docs/remote.md.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from pydantic import Field, field_validator

from feltwire import __version__
from feltwire.columns import Member
from feltwire.errors import ConfigError, ModelAwayError
from feltwire.interfaces import Predictions
from feltwire.models import _paths
from feltwire.models._answers import About, predictions
from feltwire.models._limits import LimitOptions, Limits
from feltwire.models._remote import AwayError, Caller, Refusal, RefusingError, Row
from feltwire.models._rest_forms import FeltwireForm, LabelledForm, checked, find_name, told
from feltwire.models._wire import Answer, Wire, let_go
from feltwire.text import profiles

# What is said of a text, and not of who asks, how often or where.
_OF_TEXT: Final = frozenset({400, 413, 414, 415, 422, 431, 451})
_LATER: Final = frozenset({408, 425, 429})


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
        self._form = (
            LabelledForm(options.labels, error=options.error, one=bool(options.text))
            if options.labels
            else FeltwireForm()
        )
        self._extra = _object(options.body)
        self._about: About | None = None
        if options.labels:
            name = options.name or f"{url.hostname}@remote"
            self._about = About(name, options.languages, checked(self._form.heads, "labels"))
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
            self._about = told(document, self._who, name=self._options.name, languages=self._options.languages)
        return self._about

    async def _call(self, texts: Sequence[str]) -> Sequence[Row | Refusal]:
        about = await self._ask()
        document = await self._post(texts)
        if not (self._options.labels or (isinstance(document, dict) and (self._options.name or "model" in document))):
            raise RefusingError("its answer does not say which model it is of", of_text=False)
        if not self._options.labels and find_name(document, self._options.name) != about.name:
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
