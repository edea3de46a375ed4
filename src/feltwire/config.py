"""Settings: feltwire.toml and the environment, checked. The only module that looks at the environment.

Every setting is a field here with its type, default and description; the reference in docs/configuration.md and
the file that `feltwire init` writes come from the same fields.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from feltwire import configfile
from feltwire.errors import ConfigError

DATA: Final = "feltwire-data"

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Options = dict[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Plugin(_Section):
    """A section that names a plugin by URI; keys that are not declared here are the plugin's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def options(self) -> Options:
        """The plugin's options: every key beside the declared ones."""
        return dict(self.model_extra or {})


class LogSettings(_Plugin):
    """Where records become safe and unique. Further keys are options of the log."""

    uri: str | None = Field(
        default=None,
        description="The log, as `name:place`. Unset: an SQLite log beside the lake, named after it.",
        examples=["sqlite:feltwire-data/lake-log.sqlite"],
    )


class LakeSettings(_Section):
    """The tables."""

    path: str = Field(default=f"{DATA}/lake", description="The lake: a folder, or `s3://bucket/prefix`.")
    storage_options: dict[str, str] = Field(
        default_factory=dict,
        description="What the object store needs: region, endpoint, keys. Keep secrets out of the file by `${NAME}`.",
        examples=[{"AWS_REGION": "eu-central-1"}],
    )


class ModelSettings(_Section):
    """What scores the posts."""

    uri: str = Field(
        default="bundled:fast", description="The model, as `name:place`; `none:` stores posts without scoring them."
    )
    registry: str | None = Field(
        default=None,
        description="Where registered models lie: a folder, or `s3://bucket/prefix`. Unset: a folder of the user's.",
        examples=["s3://models/feltwire"],
    )

    @model_validator(mode="before")
    @classmethod
    def _placed(cls, given: Any) -> Any:
        """The URI of a registered model says where it lies, so that it alone is enough to load it."""
        match given:
            case {"uri": str(uri), "registry": str(place)}:
                return {**given, "uri": in_registry(uri, place)}
        return given


class PipelineSettings(_Section):
    """The way from the log to the lake."""

    name: str = Field(
        default="main",
        description="The pipeline's name. Pipelines with names and lakes of their own read one log independently.",
    )

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("expected letters, digits, '_', '-' and '.'")
        return name


class EngineSettings(_Section):
    """What runs the pipeline."""

    name: str = Field(default="local", description="The engine.")
    processes: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Processes that score beside the main one. Unset: as the machine allows.",
        examples=[2],
    )
    max_backlog: int = Field(
        default=5_000_000,
        ge=1_000,
        description="Records in the log that are not in the lake yet; beyond, ingest waits.",
    )
    partitions: list[int] | None = Field(
        default=None,
        description="The log's partitions to process. Unset: all. For several workers on one log.",
        examples=[[0]],
    )
    maintain: bool = Field(default=True, description="Whether this worker also compacts, vacuums and trims.")
    master: str | None = Field(
        default=None,
        description="Engine `spark`: the cluster. Unset: what `spark-submit` says, else this machine.",
        examples=["spark://host:7077"],
    )
    trigger_s: float = Field(
        default=5.0, ge=0, le=3_600, description="Engine `spark`: seconds between the beginnings of two batches."
    )
    batch_rows: int | None = Field(
        default=None,
        ge=100,
        description="Engine `spark`: records in a batch, at most. Unset: 40,000 for each core.",
        examples=[1_000_000],
    )
    spark: dict[str, str] = Field(
        default_factory=dict,
        description="Engine `spark`: settings of Spark's own.",
        examples=[{"spark.executor.memory": "4g"}],
    )


class SourceSettings(_Plugin):
    """A source of posts; several are welcome. Further keys are options of the source."""

    uri: str = Field(description="The source, as `name:place`.", examples=["bluesky:"])
    name: str | None = Field(
        default=None,
        description="The key of the source's place in its stream, kept in the log. Unset: the URI without its options.",
        examples=["bluesky"],
    )


class TrackSettings(_Section):
    """A subject to listen for; several are welcome. With none, every post is kept."""

    name: str = Field(description="The track's name, as it stands in the tables.", examples=["airlines"])
    query: str = Field(
        description='What belongs to it: words, "exact words", AND, OR, -not, #tag, from:, lang:, is:, place:.',
        examples=["(delta OR united) -football lang:en"],
    )


class FollowerSettings(_Plugin):
    """A destination that follows the lake; several are welcome. Further keys are options of the destination."""

    name: str = Field(description="The follower's name: `feltwire follow NAME`.", examples=["archive"])
    uri: str = Field(description="The destination, as `name:place`.", examples=["csv:archive.csv"])


class ServeSettings(_Section):
    """The web server: health, metrics, and the API."""

    host: str = Field(
        default="127.0.0.1", description="The address to listen on. Beyond this machine only with a token."
    )
    port: int = Field(default=8050, ge=0, le=65_535, description="The port; 0 takes a free one.")
    token: SecretStr | None = Field(
        default=None,
        description="Who asks must bring it, as `Authorization: Bearer …`. It allows all. From the environment only.",
        examples=["${FELTWIRE_TOKEN}"],
    )
    token_file: Path | None = Field(
        default=None,
        description="A file that holds the token, readable by its owner only (mode 600).",
        examples=["token"],
    )
    write_token: SecretStr | None = Field(
        default=None,
        description="A token that allows to read, to push posts and to correct labels. From the environment only.",
        examples=["${FELTWIRE_WRITE_TOKEN}"],
    )
    write_token_file: Path | None = Field(
        default=None, description="A file that holds it (mode 600).", examples=["write-token"]
    )
    read_token: SecretStr | None = Field(
        default=None,
        description="A token that allows to read and to have texts scored. From the environment only.",
        examples=["${FELTWIRE_READ_TOKEN}"],
    )
    read_token_file: Path | None = Field(
        default=None, description="A file that holds it (mode 600).", examples=["read-token"]
    )
    ready_lag: int = Field(
        default=1_000_000, ge=0, description="Records that the lake may be behind the log before `/readyz` says 503."
    )
    rate: float = Field(
        default=1_000.0,
        gt=0,
        le=1_000_000,
        description="Requests a second that one client of the API may make, twice as many at once; more get 429.",
    )
    max_body_mb: float = Field(
        default=8.0, gt=0, le=256, description="A larger request is declined (413), in MB of 1,000,000 bytes."
    )
    max_texts: int = Field(default=1_024, ge=1, le=100_000, description="Texts in a request to `/api/v1/score`.")
    max_streams: int = Field(default=64, ge=0, le=10_000, description="Clients of `/api/v1/stream` at a time.")

    @model_validator(mode="after")
    def _one_token(self) -> "ServeSettings":
        for name in ("token", "write_token", "read_token"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"{name} and {name}_file exclude each other")
        if not (self.token or self.token_file):
            for name in ("write_token", "read_token"):
                if getattr(self, name) or getattr(self, f"{name}_file"):
                    raise ValueError(f"{name} needs token or token_file beside it: without one, nobody may do all")
        return self


class SecretsSettings(_Section):
    """Values for `${NAME}` that the environment does not hold."""

    file: Path | None = Field(
        default=None,
        description="A file of `NAME=value` lines, readable by its owner only (mode 600).",
        examples=["secrets.env"],
    )


class Settings(_Section):
    """Everything that can be set."""

    log: LogSettings = LogSettings()
    lake: LakeSettings = LakeSettings()
    model: ModelSettings = ModelSettings()
    pipeline: PipelineSettings = PipelineSettings()
    engine: EngineSettings = EngineSettings()
    sources: list[SourceSettings] = Field(default_factory=list)
    tracks: list[TrackSettings] = Field(default_factory=list)
    followers: list[FollowerSettings] = Field(default_factory=list)
    serve: ServeSettings = ServeSettings()
    secrets: SecretsSettings = SecretsSettings()

    @property
    def log_uri(self) -> str:
        """The log: as it is set, or an SQLite log beside the lake."""
        if self.log.uri is not None:
            return self.log.uri
        path = self.lake.path.rstrip("/")
        return f"sqlite:{DATA}/{path.rpartition('/')[2]}-log.sqlite" if "://" in path else f"sqlite:{path}-log.sqlite"


def in_registry(uri: str, place: str) -> str:
    """The URI of a model with `place` as the registry of every `registry:` in it that names none."""
    head, question, query = uri.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    if head.startswith("auto:"):
        options = [(key, in_registry(value, place) if key in ("fast", "base") else value) for key, value in options]
    elif head.startswith("registry:") and "at" not in dict(options):
        options.append(("at", place))
    else:
        return uri
    return f"{head}?{urlencode(options, safe=':/@', quote_via=quote)}" if options else head + question


def data_folder() -> Path:
    """Where this user's programs keep data (XDG_DATA_HOME), the part that is Feltwire's."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "feltwire"


def cache_folder() -> Path:
    """Where this user's programs keep what they can get again (XDG_CACHE_HOME), the part that is Feltwire's."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feltwire"


def java_home() -> Path | None:
    """The folder of Java that the environment names (JAVA_HOME)."""
    named = os.environ.get("JAVA_HOME")
    return Path(named) if named else None


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, over: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of a file, over it the environment, over both the sections of `over`.

    `path` None: ./feltwire.toml if there is one. `environ` None: this process's. `over` is what the command line
    says: {section: {key: value}}, and for sources and the like the whole list. `FELTWIRE_SERVE__PORT=8051` sets
    serve.port, `FELTWIRE_SOURCES__0__URI=…` the URI of the first source, and `FELTWIRE_TRACKS='[{…}]'` a whole
    section as JSON. `${NAME}` in a text is replaced from the environment or from the file that secrets.file
    names, `$${` stands for `${`. Raises ConfigError, in one line.
    """
    given = os.environ if environ is None else environ
    raw = configfile.read(path)
    configfile.overlay(raw, given, Settings.model_fields)
    configfile.refuse_plain_token(raw, given)
    for section, value in (over or {}).items():
        raw[section] = {**raw.get(section, {}), **value} if isinstance(value, Mapping) else value
    return _validate(configfile.interpolate(raw, configfile.values(raw, given)), raw)


def _validate(value: dict[str, Any], raw: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(value)
    except ValidationError as error:
        raise ConfigError(_one_line(error, raw)) from error


def _one_line(error: ValidationError, raw: Mapping[str, Any]) -> str:
    """The first complaint: the key, what came (as it was written, before secrets came in), what is allowed."""
    first = error.errors(include_url=False)[0]
    where = first["loc"]
    key = ".".join(str(part) for part in where)
    match first["type"]:
        case "extra_forbidden":
            known = ", ".join(_section(where[:-1]).model_fields)
            return f"{key}: unknown setting; known are {known}"
        case "missing":
            return f"{key}: missing; {_section(where[:-1]).model_fields[str(where[-1])].description}"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{key}: {message}"
    came = "(hidden)" if str(where[-1]).endswith("token") else repr(_at(raw, where))
    return f"{key} = {came}: {message[:1].lower()}{message[1:]}"


def _section(where: tuple[int | str, ...]) -> type[BaseModel]:
    """The section that a place in the settings belongs to."""
    section: Any = Settings
    for part in where:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(iter(getattr(annotation, "__args__", ())), annotation)
    return section  # type: ignore[no-any-return]  # a model, by the way Settings is made


def _at(raw: Any, where: tuple[int | str, ...]) -> Any:
    """What stands at a place of the file."""
    for part in where:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return raw
    return raw


def token(settings: Settings, name: str = "token") -> str | None:
    """A token that the web server asks for, or None; `name` is its setting: `token`, `write_token` or `read_token`.

    Raises ConfigError where its file is not private.
    """
    file: Path | None = getattr(settings.serve, f"{name}_file")
    if file:
        text = configfile.read_secret(file, f"serve.{name}_file").strip()
        if not text:
            raise ConfigError(f"serve.{name}_file: {file} is empty")
        return text
    given: SecretStr | None = getattr(settings.serve, name)
    return given.get_secret_value() if given else None
