"""Models by their URIs: loaded once a process, and exchanged while they serve when another version is promoted."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, cast
from urllib.parse import parse_qsl

from feltwire import registry
from feltwire.errors import ConfigError, FeltwireError, ModelAwayError, ModelError
from feltwire.interfaces import Model
from feltwire.schema import SENTIMENTS

CHECK_S: Final = 1.0
"""At most so often, and by an engine just so often, it is asked which version is promoted."""

_log = logging.getLogger(__name__)


def load(uri: str) -> Model:
    """The model of a URI (`lexicon:vader`, `bundled:NAME`, `bundle:PATH`, `none:`) or of a bundle's plain path.

    Loaded once a process and URI: what one process loaded is not used in its forks. A URI that leaves the version
    open (`registry:NAME`) gives the promoted one, looked up at most every CHECK_S. Raises ConfigError for an unknown
    URI, ModelError for a model that cannot be used, RetryableError where its place is out of reach.
    """
    return _load(_current(uri, os.getpid()).now() if _may_move(uri) else uri, os.getpid())


def pin(uri: str) -> str:
    """The URI with what it leaves open decided: of a registered model, the version that is promoted now.

    Any other URI is its own. Raises as `load`, but nothing is loaded.
    """
    if not _may_move(uri):
        return uri
    head, question, query = uri.partition("?")
    name, _, rest = head.partition(":")
    module = registry.load("models", name)
    options = registry.validate(module.Options, dict(parse_qsl(query, keep_blank_values=True)), where=f"model {name!r}")
    pinned: str = module.pin(rest, options)
    return pinned if ":" in pinned else f"{name}:{pinned}{question}{query}"


class Current:
    """What a model's URI stands for, as promotions go on: `uri` names a version that could be loaded here.

    A version that cannot be loaded is reported once, and the one before goes on.
    """

    def __init__(self, asked: str) -> None:
        """Raises as `load`: at the start there is nothing that could go on."""
        self.asked = asked
        self.moves = _may_move(asked)
        self.uri = pin(asked)
        _load(self.uri, os.getpid())
        self._refused = ""
        self._told = ""
        self._checked_at = time.monotonic()

    def now(self) -> str:
        """The URI that serves, looked up where that was not done within CHECK_S."""
        if self.moves and time.monotonic() - self._checked_at >= CHECK_S:
            self.check()
        return self.uri

    def check(self) -> None:
        """Look up which version is promoted, and take it if it can be loaded. Raises nothing of Feltwire's own."""
        self._checked_at = time.monotonic()
        found = ""
        try:
            found = pin(self.asked)
            if found not in (self.uri, self._refused):
                name = _load(found, os.getpid()).name
                _log.info("model %s: %s serves from now on", self.asked, name)
                self.uri = found
            elif found == self.uri:
                self._refused = ""
            self._told = ""
        except (FeltwireError, OSError) as error:
            if isinstance(error, ConfigError | ModelError):
                self._refused = found  # until another one is promoted: a version never changes
            if str(error) != self._told:
                self._told = str(error)
                _log.error("model %s: %s goes on, since: %s", self.asked, self.uri, error)

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Check again and again, from a thread beside, so that nobody waits while a version is loaded."""
        if not self.moves:
            yield
            return
        ending = threading.Event()

        def follow() -> None:
            while not ending.wait(CHECK_S):
                try:
                    self.check()
                except Exception as error:  # noqa: BLE001 - whatever a library raises, the next version is looked for
                    _log.error(
                        "model %s: %s goes on, since a %s was raised", self.asked, self.uri, type(error).__name__
                    )

        thread = threading.Thread(target=follow, name="model", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(5.0)


@lru_cache(maxsize=64)
def _may_move(uri: str) -> bool:
    """Whether what the URI stands for may change while it is in use."""
    name, colon, _ = uri.partition(":")
    return bool(colon) and name in _plugins() and hasattr(registry.load("models", name), "pin")


@lru_cache(maxsize=16)
def _current(uri: str, process: int) -> Current:
    return Current(uri)


@lru_cache(maxsize=1)
def _plugins() -> frozenset[str]:
    return frozenset(registry.names("models"))


@lru_cache(maxsize=8)  # the models in use, and one that served before: each may take 100 MB
def _load(uri: str, process: int) -> Model:
    name, colon, _ = uri.partition(":")
    if not (colon and name in _plugins()):
        path = uri.partition("?")[0]
        if not path or not Path(path).expanduser().is_dir():
            known = ", ".join(f"{name}:" for name in sorted(_plugins()))
            raise ConfigError(f"model {uri!r} is neither a folder nor one of {known}")
        uri = f"bundle:{uri}"
    model = cast(Model, registry.create("models", uri))
    try:
        check_heads(model.heads, f"model {uri}")
    except ModelAwayError as error:  # a remote one, which checks what it is told as soon as it is told
        _log.warning("%s", error)
    return model


def check_heads(heads: Mapping[str, Sequence[str]], where: str) -> None:
    """Raise ModelError where `sentiment` or `complaint` has labels that the columns of a post cannot hold."""
    wrong = set(heads.get("sentiment", ())) - set(SENTIMENTS)
    if wrong:
        raise ModelError(f"{where}: sentiment has labels {sorted(wrong)}; allowed are {', '.join(SENTIMENTS)}")
    if "complaint" in heads and "complaint" not in heads["complaint"]:
        raise ModelError(f"{where}: the head 'complaint' has labels {heads['complaint']}: one must be 'complaint'")
