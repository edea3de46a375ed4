"""A bundle: a directory that holds a model. `model.json` says what it is; `model.onnx` and `tokenizer.json` do it.

Nothing in it is ever unpickled or executed: JSON, an ONNX graph and a tokenizer of the `tokenizers` library.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from feltwire.errors import ModelError
from feltwire.text import profiles

SCHEMA_VERSION: Final = 1
MANIFEST: Final = "model.json"
GRAPH: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
TERMS: Final = "terms.json"
WEIGHTS: Final = "weights.safetensors"
FILES: Final = {"onnx": (GRAPH, TOKENIZER), "linear": (TERMS, WEIGHTS), "trees": (TERMS, WEIGHTS)}
"""The files that a bundle of each format has beside `model.json`."""
OUTSIDE: Final = "O"  # the tag of a token in no entity; the others are B-<entity> and I-<entity>

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _pair(given: Any) -> Any:
    """`0.4-0.6`, as a URI has it, is a pair."""
    return given.split("-") if isinstance(given, str) else given


def _around_half(band: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= band[0] <= 0.5 <= band[1] <= 1:
        raise ValueError("expected two shares with a half between them: 0.4-0.6")
    return band


Band = Annotated[tuple[float, float], BeforeValidator(_pair), AfterValidator(_around_half)]
"""From which to which p(positive), both included, a model that knows only negative and positive says neutral."""

TWO_SENTIMENTS: Final = frozenset({"negative", "positive"})


class Head(BaseModel):
    """One thing that the model says, and where in the graph it says it.

    `classes`: one label is right; the tensor float[rows, labels] holds logits for a softmax. `multi`: any number
    is right; a sigmoid each. `spans`: the labels are BIO tags, the tensor is float[rows, tokens, tags].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    kind: Literal["classes", "multi", "spans"] = "classes"
    temperature: Annotated[float, Field(gt=0, le=1000)] = 1.0  # the logits are divided by it
    output: str = ""  # the graph's tensor; empty: the head's own name
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0  # a label that is less probable is given as `unknown`
    neutral_band: Band | None = None  # of two sentiments; the probabilities stay as they are

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("a label stands twice")
        return labels

    @model_validator(mode="after")
    def _tags(self) -> "Head":
        if self.kind == "spans":
            wrong = [tag for tag in self.labels if tag != OUTSIDE and tag[:2] not in ("B-", "I-")]
            if wrong or OUTSIDE not in self.labels:
                raise ValueError(f"labels of spans are {OUTSIDE}, B-<entity>, I-<entity>; wrong: {wrong or 'no O'}")
        return self

    @model_validator(mode="after")
    def _two_sentiments(self) -> "Head":
        if self.neutral_band is not None and set(self.labels) != TWO_SENTIMENTS:
            raise ValueError("neutral_band is for the two labels negative and positive")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The labels as the model's user sees them: of spans the entities, in the order of their first tag."""
        if self.kind != "spans":
            return self.labels
        return tuple(dict.fromkeys(tag[2:] for tag in self.labels if tag != OUTSIDE))


class TrainingSet(BaseModel):
    """What the model learned from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: _Sha256
    rows: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """`model.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int
    format: Literal["onnx", "linear", "trees"] = "onnx"  # what the other files are, and so which runtime reads them
    name: _Name
    version: _Name
    description: str = ""
    licence: str = ""
    languages: frozenset[str] | None = None  # ISO 639-1 codes; null: any
    profile: str  # of cleaning, see text.py
    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    token_types: Literal["none", "case"] = "none"  # what `token_type_ids` say: nothing, or the words' case
    heads: Annotated[dict[str, Head], Field(min_length=1)]
    bf16: bool = False  # it may be computed in bfloat16: that was tried, and changes little
    clauses: bool = False  # posts that show a contrast are scored clause by clause too, for `p_mixed`
    training: tuple[TrainingSet, ...] = ()
    metrics: dict[str, float] = {}
    sha256: dict[str, _Sha256] = {}  # of the other files; checked on loading

    @property
    def floors(self) -> dict[str, float]:
        """{head: its floor}, of the heads that have one."""
        return {name: head.floor for name, head in self.heads.items() if head.floor}

    @property
    def neutral_band(self) -> tuple[float, float] | None:
        """That of the head `sentiment`."""
        return self.heads["sentiment"].neutral_band if "sentiment" in self.heads else None

    def with_band(self, band: tuple[float, float]) -> "Manifest":
        """With another neutral band. Raises ModelError where `sentiment` is not of the two labels that it is for."""
        head = self.heads.get("sentiment")
        if head is None or set(head.labels) != TWO_SENTIMENTS:
            came = "none" if head is None else ", ".join(head.labels)
            raise ModelError(
                f"bundle {self.name}: neutral_band needs a head 'sentiment' with the labels negative, positive; "
                f"it has {came}"
            )
        heads = {**self.heads, "sentiment": head.model_copy(update={"neutral_band": band})}
        return self.model_copy(update={"heads": heads})

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, profile: str) -> str:
        if profile not in profiles():
            raise ValueError(f"unknown cleaning profile; known are {', '.join(profiles())}")
        return profile


class Described:
    """What a manifest says of its model: those attributes of `interfaces.Model` that every runtime takes from it."""

    def __init__(self, manifest: Manifest) -> None:
        """Take them over."""
        self.name = f"{manifest.name}@{manifest.version}"
        self.languages = manifest.languages
        self.heads: Mapping[str, tuple[str, ...]] = {name: head.names for name, head in manifest.heads.items()}
        self.profile = manifest.profile
        self.neutral_band = manifest.neutral_band
        self.floors = manifest.floors
        self.clauses = manifest.clauses
        self.manifest = manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle whose files are all there and are what it says they are.

    Raises ModelError, in one line, for a missing or changed file, another schema version, or a wrong entry.
    """
    if not folder.is_dir():
        raise ModelError(f"bundle {folder}: there is no such folder")
    _there(folder, MANIFEST, "every bundle has one")
    manifest = _parse(folder)
    files = FILES[manifest.format]
    for name in files:
        _there(folder, name, f"a bundle of format {manifest.format!r} has {', '.join((MANIFEST, *files))}")
    for name, expected in manifest.sha256.items():
        if name not in files:
            raise ModelError(f"bundle {folder}: {MANIFEST}, sha256: {name!r} is none of {', '.join(files)}")
        came = sha256(folder / name)
        if came != expected:
            raise ModelError(f"bundle {folder}: {name} has SHA-256 {came}, {MANIFEST} says {expected}: take it anew")
    return manifest


def _there(folder: Path, name: str, expected: str) -> None:
    if not (folder / name).is_file():
        raise ModelError(f"bundle {folder}: the file {name} is missing; {expected}")


def _parse(folder: Path) -> Manifest:
    try:
        given: Any = json.loads((folder / MANIFEST).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"bundle {folder}: {MANIFEST} is no JSON: {error}") from error
    version = given.get("schema_version") if isinstance(given, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ModelError(
            f"bundle {folder}: schema_version {version!r}; this version of Feltwire reads {SCHEMA_VERSION}: "
            "export the bundle again, or use the Feltwire that it was made for"
        )
    try:
        return Manifest.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"bundle {folder}: {MANIFEST}, {key}: {first['msg']}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `model.json`, without what has its default value; it is there whole or not at all."""
    given: dict[str, Any] = {"schema_version": manifest.schema_version, "format": manifest.format}
    given |= manifest.model_dump(mode="json", exclude_defaults=True)
    if manifest.languages is not None:
        given["languages"] = sorted(manifest.languages)  # a set has another order every time
    part = folder / f"{MANIFEST}.part"
    part.write_text(json.dumps(given, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / MANIFEST)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
