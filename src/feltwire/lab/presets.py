"""Presets by name: which family trains what. The folder `families` is the registry."""

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple, cast

from pydantic import BaseModel

from feltwire.errors import ConfigError, MissingExtraError
from feltwire.lab import families
from feltwire.lab.interfaces import Family
from feltwire.registry import validate


class Preset(NamedTuple):
    """A family, and the options that a preset's name stands for."""

    name: str
    family_name: str
    family: Family
    given: Mapping[str, Any]

    def options(self, over: Mapping[str, Any]) -> BaseModel:
        """Its options with `over` laid over them. Raises ConfigError for a wrong one."""
        return validate(self.family.Options, {**self.given, **over}, where=f"preset {self.name!r}")


def find(name: str) -> Preset:
    """The preset of a name.

    Raises ConfigError for an unknown one, MissingExtraError when the family that has it, or might have it, needs a
    library that is not installed.
    """
    known: list[str] = []
    missing = ""
    for family_name in family_names():
        try:
            module = _import(family_name)
        except ModuleNotFoundError as error:
            missing = missing or str(error.name)
            continue
        if name in module.PRESETS:
            return Preset(name, family_name, cast(Family, module), module.PRESETS[name])
        known += module.PRESETS
    if missing:
        raise MissingExtraError(
            f"preset {name!r} may need the library {missing!r}: pip install 'feltwire[train]'; "
            f"known without it are {', '.join(sorted(known)) or 'none'}"
        )
    raise ConfigError(f"unknown preset {name!r}: known are {', '.join(sorted(known))}")


def names() -> dict[str, str]:
    """{preset: its family}, of the families whose libraries are installed."""
    found: dict[str, str] = {}
    for family_name in family_names():
        try:
            module = _import(family_name)
        except ModuleNotFoundError:
            continue
        found |= dict.fromkeys(module.PRESETS, family_name)
    return dict(sorted(found.items()))


def family_names() -> list[str]:
    """The modules of `lab/families`, without importing one."""
    return sorted(one.name for one in pkgutil.iter_modules(families.__path__) if not one.name.startswith("_"))


def _import(family_name: str) -> ModuleType:
    try:
        return importlib.import_module(f"feltwire.lab.families.{family_name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "feltwire":
            raise ImportError(
                f"feltwire.lab.families.{family_name} imports {error.name}, which is not there"
            ) from error
        raise
