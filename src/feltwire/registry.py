"""The folder is the registry: a plugin is a module in `sources/`, `logs/`, `models/`, `engines/`, `followers/`.

A plugin is imported when it is used. Third parties add theirs by the entry-point group `feltwire.<kind>`, each
entry naming a module of the same form.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Final
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from feltwire.errors import ConfigError, MissingExtraError

KINDS: Final = ("sources", "logs", "models", "engines", "followers")

# Libraries that are not part of the base install, where the extra that brings one is named otherwise.
EXTRAS: Final[dict[str, str]] = {
    "boto3": "aws",
    "botocore": "aws",
    "confluent_kafka": "kafka",
    "py4j": "spark",
    "pyspark": "spark",
}


def names(kind: str) -> list[str]:
    """The names of all plugins of a kind, without importing one. A module hides by a leading underscore."""
    package = importlib.import_module(f"feltwire.{kind}")
    own = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    others = [point.name for point in entry_points(group=f"feltwire.{kind}")]
    return sorted({*own, *others})


def load(kind: str, name: str) -> ModuleType:
    """The plugin's module.

    Raises ConfigError for an unknown name, MissingExtraError when a library that it needs is not installed.
    """
    known = names(kind)
    if name not in known:
        raise ConfigError(f"unknown {kind.removesuffix('s')} {name!r}: known are {', '.join(known)}")
    for point in entry_points(group=f"feltwire.{kind}"):
        if point.name == name:
            module: ModuleType = point.load()
            return module
    try:
        return importlib.import_module(f"feltwire.{kind}.{name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "feltwire":
            raise
        extra = EXTRAS.get(missing, missing)
        raise MissingExtraError(
            f"{kind.removesuffix('s')} {name!r} needs the library {missing!r}: pip install 'feltwire[{extra}]'"
        ) from error


def create(kind: str, uri: str, options: Mapping[str, Any] | None = None) -> Any:
    """Make a plugin from its URI, `name:rest?option=value&…`; `options` adds to the ones in the URI.

    Returns whatever Protocol the kind stands for. Raises ConfigError for an unknown name or a wrong option.
    """
    head, _, query = uri.partition("?")
    name, colon, rest = head.partition(":")
    if not colon:
        raise ConfigError(f"{uri!r} is no URI: expected name:rest, with a name out of {', '.join(names(kind))}")
    module = load(kind, name)
    given = {**dict(parse_qsl(query, keep_blank_values=True)), **(options or {})}
    return module.create(rest, validate(module.Options, given, where=f"{kind.removesuffix('s')} {name!r}"))


def validate(model: type[BaseModel], given: Mapping[str, Any], *, where: str) -> BaseModel:
    """`given` as a `model`; raises ConfigError with one line: the key, what came, what is allowed."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            raise ConfigError(f"{where}: unknown option {key!r}; known are {known}") from error
        raise ConfigError(f"{where}: {key} = {first['input']!r}: {first['msg']}") from error
