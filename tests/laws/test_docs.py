"""Undocumented is broken: every command, option, setting, plugin and metric stands, as code, in the docs.

A name counts as documented where a page (docs/*.md or README.md) has it in an inline code span or a code block.
An option must stand on a page that also names its command, a plugin's option beside its plugin, a setting beside
its section.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, Field

ROOT = Path(__file__).parents[2]


class Thing(NamedTuple):
    """What has to be documented: what it is, and the words that must stand together on one page."""

    title: str
    words: tuple[str, ...]


def code_of(markdown: str) -> str:
    """All code of a page: its fenced blocks and inline spans, one a line."""
    fenced = re.compile(r"^(```+|~~~+)[^\n]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
    blocks = [match[2] for match in fenced.finditer(markdown)]
    spans = [match[2] for match in re.finditer(r"(`+)(.+?)\1", fenced.sub("", markdown), re.DOTALL)]
    return "\n".join([*blocks, *spans])


def missing(things: Iterator[Thing], pages: list[str]) -> list[str]:
    """The titles of the things that no page's code documents."""
    code = [code_of(page) for page in pages]

    def stands(words: tuple[str, ...]) -> bool:
        # A word ends where a name would: `--out` is not in `--output`, `every` not in `--every`.
        patterns = [re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])") for word in words]
        return any(all(pattern.search(page) for pattern in patterns) for page in code)

    return [thing.title for thing in things if not stands(thing.words)]


def commands(app: ModuleType) -> Iterator[Thing]:
    """Every visible command and option of the command line."""
    yield from command_things(typer.main.get_command(app.app), "feltwire")


def command_things(command: Any, path: str) -> Iterator[Thing]:
    """A command's things and those below it. Click is part of Typer nowadays, so only its attributes are used."""
    yield Thing(f"command {path}", (path,))
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            for option in [*parameter.opts, *parameter.secondary_opts]:
                if option.startswith("--") and option not in {"--help", "--install-completion", "--show-completion"}:
                    yield Thing(f"option {path} {option}", (path, option))
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            yield from command_things(below, f"{path} {name}")


def settings(config: ModuleType) -> Iterator[Thing]:
    """Every setting, as `section.key`."""
    yield from setting_things(config.Settings, ())


def setting_things(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Thing]:
    """A model's fields and those of the models inside them, in whatever container they stand."""
    for name, field in model.model_fields.items():
        words = (*path, field.alias or name)
        yield Thing(f"setting {'.'.join(words)}", words)
        for inner in models_in(field.annotation):
            yield from setting_things(inner, words)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that a type is made of: `dict[str, Track] | None` gives Track."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in models_in(argument)]


def plugins(module: ModuleType) -> Iterator[Thing]:
    """Every plugin of every kind and its options."""
    for kind in module.KINDS:
        for name in module.names(kind):
            title = f"{kind.removesuffix('s')} {name}"
            yield Thing(title, (name,))
            options = getattr(module.load(kind, name), "Options", None)
            for option, field in options.model_fields.items() if options else ():
                yield Thing(f"option {title} {option}", (name, field.alias or option))


def metrics(module: ModuleType) -> Iterator[Thing]:
    """Every Prometheus metric that the module holds, by itself or in a registry."""
    seen = set()
    for value in vars(module).values():
        if isinstance(value, CollectorRegistry):
            families = list(value.collect())
        elif isinstance(value, MetricWrapperBase):
            families = list(value.describe())
        else:
            continue
        for family in families:
            # Prometheus shows a counter's samples under its name and this ending.
            name = f"{family.name}_total" if family.type == "counter" else family.name
            if name not in seen:
                seen.add(name)
                yield Thing(f"metric {name}", (name,))


@pytest.mark.parametrize(
    ("module", "things"),
    [
        ("feltwire.cli", commands),
        ("feltwire.config", settings),
        ("feltwire.registry", plugins),
        ("feltwire.metrics", metrics),
    ],
)
def test_everything_is_documented(module: str, things: Callable[[ModuleType], Iterator[Thing]]) -> None:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        pytest.skip(f"there is no {module} yet")
    pages = [page.read_text(encoding="utf-8") for page in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]]
    names = missing(things(importlib.import_module(module)), pages)
    if names:
        pytest.fail(
            f"{len(names)} things are in no page of docs/ or README.md:\n  " + "\n  ".join(names), pytrace=False
        )


# The checker itself, on small inventions.


class _Track(BaseModel):
    query: str = ""


class _Settings(BaseModel):
    lake: str = ""
    tracks: dict[str, _Track] | None = None
    until: str = Field(default="", alias="until-idle")


def test_settings_are_found_in_containers_and_by_alias() -> None:
    things = list(setting_things(_Settings, ()))
    assert [thing.title for thing in things] == [
        "setting lake",
        "setting tracks",
        "setting tracks.query",
        "setting until-idle",
    ]


def test_a_name_counts_only_as_code_and_whole() -> None:
    pages = ["The `lake` is at --path.\n\n```toml\n[tracks]\nquery = 'x'\n```\n", "`--output` and ``until-idle``"]
    words = {
        ("lake",): True,
        ("tracks", "query"): True,
        ("until-idle",): True,
        ("until",): False,
        ("--path",): False,
        ("--out",): False,
        ("lake", "until-idle"): False,  # each on a page of its own
    }
    names = missing((Thing(" ".join(key), key) for key in words), pages)
    assert names == [" ".join(key) for key, documented in words.items() if not documented]


def test_commands_and_options_are_walked() -> None:
    app, lab = typer.Typer(), typer.Typer()
    app.add_typer(lab, name="lab")

    @app.command()
    def windows(every: str = "1min", *, json: bool = False) -> None: ...

    @app.command(hidden=True)
    def secret() -> None: ...

    @lab.command()
    def train() -> None: ...

    module = ModuleType("cli")
    vars(module)["app"] = app
    assert [thing.title for thing in commands(module)] == [
        "command feltwire",
        "command feltwire windows",
        "option feltwire windows --every",
        "option feltwire windows --json",
        "option feltwire windows --no-json",
        "command feltwire lab",
        "command feltwire lab train",
    ]


def test_metrics_are_found_by_their_shown_names() -> None:
    module = ModuleType("metrics")
    own = CollectorRegistry()
    vars(module).update(
        posts=Counter("feltwire_posts", "…", registry=None),
        registry=own,
        lag=Gauge("feltwire_lag", "…", registry=own),
    )
    assert {thing.title for thing in metrics(module)} == {"metric feltwire_posts_total", "metric feltwire_lag"}


def test_plugins_are_found_with_their_options() -> None:
    class Options(BaseModel):
        rate: int = 1

    class Small(ModuleType):
        KINDS = ("sources",)

        @staticmethod
        def names(kind: str) -> list[str]:
            return ["tap"] if kind == "sources" else []

        @staticmethod
        def load(kind: str, name: str) -> ModuleType:
            module = ModuleType(f"{kind}.{name}")
            vars(module)["Options"] = Options
            return module

    assert list(plugins(Small("registry"))) == [
        Thing("source tap", ("tap",)),
        Thing("option source tap rate", ("tap", "rate")),
    ]
