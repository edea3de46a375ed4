"""A recipe: which labelled sets teach which heads of a model with many heads. `recipes/*.toml` are the ones we ship."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feltwire.errors import ConfigError

FOLDER: Final = Path(__file__).parent / "recipes"


class HeadSpec(BaseModel):
    """One head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    kind: Literal["classes", "multi", "spans"] = "classes"
    weight: float = 1.0  # of its loss
    adjust: float = 0.0  # how much of the labels' frequencies is taken out (Menon et al. 2021, logit adjustment)
    lean: dict[str, float] = {}  # what is added to these labels' logits once the model is trained
    words: Annotated[float, Field(ge=0, lt=1)] = 0.0  # the share of a linear part over tokens in its logits
    floor: float = 0.0  # see models/_bundle.py
    taught: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the texts without labels, the share a teacher labels
    helper: bool = False  # it only teaches the encoder, and is left out of the bundle


class SetSpec(BaseModel):
    """Labels for one head out of one file; several may read the same file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str  # relative to the data folder; `invented:NAME` is one of `invented.py`
    head: str
    text: str = "text"
    label: str = "label"  # a column: a label, or a list of them (multi, or equally right classes)
    value: str = ""  # the label of all rows, instead of a column
    tokens: str = ""  # for spans: the column of tokens; `label` is then that of their BIO tags
    rename: dict[str, str] = {}  # {label in the file: label of the head; "": leave the row out}
    others: bool = False  # it has labels that the head does not have: they are left out
    among: tuple[str, ...] = ()  # the set decides between these labels alone, and says nothing of the others
    where: dict[str, tuple[str | bool, ...]] = {}  # only rows whose column has one of these values
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # a part of the rows, chosen by a hash of their texts
    trust: Annotated[float, Field(gt=0, le=1)] = 1.0  # the share of a proxy's labels that are right
    repeat: Annotated[int, Field(ge=1)] = 1  # how often a row is seen in one pass
    hold: Annotated[float, Field(ge=0, lt=1)] = 0.0  # this part of the rows, by a hash of their texts, validates
    validates: bool = False  # all of the file validates


class Recipe(BaseModel):
    """A model with many heads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    licence: str
    profile: str = "social"
    max_tokens: int = 128
    # Against learning by heart, in fine-tuning an encoder:
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # the share of features that a sublayer leaves out of a row
    masked: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # the share of tokens that stand as [MASK]; each row its own
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the labels of classes, over what a row decides between
    heads: dict[str, HeadSpec]
    sets: tuple[SetSpec, ...]
    unlabelled: tuple[str, ...] = ()  # files whose column `text` a student also learns from


def read_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by its name, or a TOML file; raises ConfigError with one line."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise ConfigError(f"there is no recipe {name_or_path!r}: known are {known}, or give a .toml file")
    try:
        given: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(given)
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"recipe {path}: {' '.join(str(error).split())[:300]}") from error
    for name, head in recipe.heads.items():
        if unknown := [label for label in head.lean if label not in head.labels]:
            raise ConfigError(f"recipe {path}: {name} leans to {unknown[0]!r}: it has {', '.join(head.labels)}")
    for one in recipe.sets:
        if one.head not in recipe.heads:
            raise ConfigError(f"recipe {path}: {one.file} teaches {one.head!r}: heads are {', '.join(recipe.heads)}")
    return recipe
