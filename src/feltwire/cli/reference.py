"""The settings as text, out of their own fields: the file that `init` writes, and the reference of the docs."""

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from feltwire.config import Settings

Values = Mapping[str, Any]

WIDTH: Final = 100
_TYPES: Final = {str: "text", int: "number", float: "number", bool: "true or false", Path: "path", SecretStr: "text"}


def sections() -> Iterator[tuple[str, type[BaseModel], bool]]:
    """(name, model, whether there may be several) of every section, in order."""
    for name, field in Settings.model_fields.items():
        inner = get_args(field.annotation)
        yield name, (inner[0] if inner else field.annotation), bool(inner)  # type: ignore[misc]  # a model, as made there


def toml(answers: Mapping[str, "Values | list[Values]"]) -> str:
    """A feltwire.toml with `answers` set, {section: {key: value}} or a list of them, and all else as comments."""
    lines = ["# Feltwire's settings. What is commented out shows the default, or an example.", ""]
    for name, model, several in sections():
        given = answers.get(name)
        lines += [f"# {line}" for line in _wrapped(str(model.__doc__).split("\n\n")[0])]
        blocks = given if isinstance(given, list) else [given or {}]
        set_any = bool(given)
        for block in blocks or [{}]:
            head = f"[[{name}]]" if several else f"[{name}]"
            lines.append(head if set_any or not several else f"# {head}")
            for key, field in model.model_fields.items():
                lines += [f"# {line}" for line in _wrapped(str(field.description))]
                if key in block:
                    lines.append(f"{key} = {_value(block[key])}")
                else:
                    lines.append(f"# {key} = {_value(_shown(field))}")
            lines += [f"{key} = {_value(value)}" for key, value in block.items() if key not in model.model_fields]
            lines.append("")
    return "\n".join(lines)


def markdown() -> str:
    """Every setting as Markdown tables, one a section."""
    parts = []
    for name, model, several in sections():
        parts.append(f"### `{f'[[{name}]]' if several else f'[{name}]'}`\n\n{model.__doc__}\n")
        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        for key, field in model.model_fields.items():
            rows.append(f"| `{key}` | {_type_name(field)} | {_default(field)} | {field.description} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), WIDTH)


def _shown(field: FieldInfo) -> Any:
    """The default, or where there is none to write down, an example."""
    if field.examples:
        return field.examples[0]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return "…" if default is None else default


def _value(value: Any) -> str:
    """A value as TOML. JSON's texts, numbers and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, bool | int | float | list):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def _type_name(field: FieldInfo) -> str:
    kinds = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if kind is not type(None)]
    text = str(field.annotation)
    if text.startswith("dict") or "dict[" in text:
        return "table of texts"
    if "list[" in text:
        return "list of numbers"
    return " or ".join(_TYPES.get(kind, str(kind)) for kind in kinds)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "unset" if default in (None, {}, []) else f"`{_value(default)}`"


BEGIN: Final = "<!-- settings: begin -->\n"
END: Final = "<!-- settings: end -->"


def main(page: Path) -> None:
    """Write the reference into its place in a page of the docs."""
    text = page.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n{markdown()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
