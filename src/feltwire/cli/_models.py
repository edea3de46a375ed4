"""What `feltwire models list` and `show` say."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from feltwire import scoring
from feltwire.cli import common, output
from feltwire.errors import FeltwireError
from feltwire.models import _store, bundled
from feltwire.models._bundle import Manifest, read_manifest
from feltwire.models._place import Place


def write_list(place: Place, *, as_json: bool) -> None:
    """A line for each version that there is."""
    import pyarrow as pa

    columns = pa.schema(
        [
            ("model", pa.string()),
            ("serves", pa.bool_()),
            ("heads", pa.int64()),
            ("mb", pa.float64()),
            ("uri", pa.string()),
            ("note", pa.string()),
        ]
    )
    rows = [*_shipped(), *_registered(place)]
    if as_json:
        output.write_json(rows)
    elif rows:
        table = pa.Table.from_pylist([{**row, "heads": len(row["heads"])} for row in rows], schema=columns)
        output.write_table(table, output.Format.table)
    else:
        common.talk(f"No model ships with this version, and the registry {place.where} is empty: feltwire models add")


def write_model(place: Place, asked: str, *, as_json: bool) -> None:
    """Everything about one model."""
    found = describe(place, asked)
    if as_json:
        output.write_json(found)
    else:
        common.console().print(_text(found), soft_wrap=True, markup=False)


def describe(place: Place, asked: str) -> dict[str, Any]:
    """What a model is. `asked`: NAME or NAME@VERSION of the registry, or whatever `--model` takes."""
    uri = asked
    name, _, version = asked.removeprefix("registry:").partition("@")
    registered = "?" not in asked and (asked.startswith("registry:") or ":" not in asked)
    if registered and (asked.startswith("registry:") or not Path(asked).expanduser().is_dir()):
        version = version or _store.current(place, name)
        uri = f"registry:{name}@{version}?at={place.where}"
    model = scoring.load(uri)
    found: dict[str, Any] = {
        "model": model.name,
        "uri": uri,
        "runtime": getattr(model, "runtime", type(model).__module__.rpartition(".")[2].strip("_")),
        "profile": model.profile,
        "languages": None if model.languages is None else sorted(model.languages),
        "heads": {head: list(labels) for head, labels in model.heads.items()},
    }
    manifest = getattr(model, "manifest", None)
    if isinstance(manifest, Manifest):
        found["manifest"] = manifest.model_dump(mode="json")
    if uri.startswith("registry:"):
        found |= _history(place, name)
    return found


def _history(place: Place, name: str) -> dict[str, Any]:
    pointer = _store.pointer(place, name)
    moves = [move.model_dump(mode="json", exclude={"schema_version"}) for move in pointer.history] if pointer else []
    return {
        "registry": place.where,
        "current": pointer.current if pointer else None,
        "versions": _store.versions(place, name),
        "history": moves,
    }


def _shipped() -> Iterator[dict[str, Any]]:
    for path in sorted(bundled.FOLDER.glob("*/model.json")):
        uri = f"bundled:{path.parent.name}"
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        yield _row(uri, uri, None, partial(_both, path.parent, size))


def _both(folder: Path, size: int) -> tuple[Manifest, int]:
    return read_manifest(folder), size


def _registered(place: Place) -> Iterator[dict[str, Any]]:
    for name in _store.names(place):
        pointer = _store.pointer(place, name)
        for version in _store.versions(place, name):
            model, serves = f"{name}@{version}", pointer is not None and pointer.current == version
            asked = partial(_store.describe, place, name, version)
            yield _row(model, f"registry:{model}", serves, asked)


def _row(model: str, uri: str, serves: bool | None, ask: Callable[[], tuple[Manifest, int]]) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "serves": serves, "uri": uri, "heads": [], "mb": None, "note": ""}
    try:
        manifest, size = ask()
    except FeltwireError as error:
        return {**row, "note": str(error)}
    return {**row, "heads": list(manifest.heads), "mb": round(size / 1e6, 1), "note": manifest.description}


def _text(found: dict[str, Any]) -> str:
    """For people: a line for each thing."""
    manifest = found.get("manifest", {})
    lines = [("model", found["model"]), ("uri", found["uri"]), ("runs on", found["runtime"])]
    lines += [
        (key, str(manifest[key])) for key in ("description", "licence", "format", "max_tokens") if manifest.get(key)
    ]
    lines.append(("languages", ", ".join(found["languages"]) if found["languages"] is not None else "any"))
    lines.append(("profile", found["profile"]))
    for head, labels in found["heads"].items():
        shown = " ".join(labels)
        lines.append((f"head {head}", shown if len(shown) < 200 else f"{len(labels)} labels"))
    lines += [("metric", f"{name} = {value:.4g}") for name, value in manifest.get("metrics", {}).items()]
    lines += [
        ("trained on", f"{each['name']}: {each['rows']:,} rows, SHA-256 {each['sha256'][:12]}…")
        for each in manifest.get("training", ())
    ]
    if "versions" in found:
        lines += [("versions", ", ".join(found["versions"])), ("serves", found["current"] or "none")]
        lines += [("history", f"{move['at'][:16]}  {move['action']} {move['version']}") for move in found["history"]]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {output.harmless(value)}" for name, value in lines)
