"""A registry of models: versions of bundles under names, and for each name which version serves.

A version is `NAME/VERSION/` with the bundle's files and a list of their hashes, and never changes. `NAME/_current.json`
points to the version that serves and remembers the earlier ones; it is written under the condition that nobody else
has written it meanwhile.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feltwire import config
from feltwire.errors import ConfigError, ModelError, RetryableError
from feltwire.models._bundle import MANIFEST, Manifest, read_manifest, sha256
from feltwire.models._formats import open_bundle
from feltwire.models._place import ABSENT, Place

SCHEMA_VERSION: Final = 1
POINTER: Final = "_current.json"  # no version is called so: they do not begin with an underscore
LISTING: Final = "_files.json"
MAX_FILES: Final = 200
_TRIES: Final = 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Action = Literal["promote", "rollback"]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = SCHEMA_VERSION


class Listing(_Stored):
    """`_files.json`: what a version is made of."""

    files: Annotated[dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1)]
    size: Annotated[int, Field(ge=0)]
    """Of all of them, in bytes."""

    @property
    def digest(self) -> str:
        """One hash for all of it."""
        lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


class Move(_Stored):
    """A step in a name's history."""

    action: Action
    version: str
    """The one that served from then on."""
    at: datetime


class Pointer(_Stored):
    """`_current.json`."""

    current: str
    history: tuple[Move, ...]

    @property
    def earlier(self) -> tuple[str, ...]:
        """The versions that a rollback would go back to, the last one first."""
        served: list[str] = []
        for move in self.history:
            if move.action == "rollback":
                del served[-1:]
            else:
                served.append(move.version)
        return tuple(reversed(served[:-1]))


class Added(NamedTuple):
    """What `add` did."""

    name: str
    version: str
    new: bool
    """False: the same content was there already."""


_T = TypeVar("_T", bound=BaseModel)


def add(place: Place, folder: Path, *, name: str | None = None, version: str | None = None) -> Added:
    """Put a bundle into the registry; without `name` and `version` under the ones that it has itself.

    It is read and run once before. Raises ModelError for a bundle that cannot be used, or where the version is there
    with other content; ConfigError for a name that cannot be one.
    """
    manifest = read_manifest(folder)
    open_bundle(folder)
    name, version = name or manifest.name, version or manifest.version
    _check_name("name", name)
    _check_name("version", version)
    paths = _files(folder)
    size = sum(path.stat().st_size for path in paths.values())
    listing = Listing(files={key: sha256(path) for key, path in paths.items()}, size=size)
    # The list first: from then on, the version is taken by this content. It counts as there when all files are.
    new = _create(place, f"{name}/{version}/{LISTING}", _json(listing), f"{name}@{version}")
    for key, path in paths.items():
        new |= _create(place, f"{name}/{version}/{key}", path.read_bytes(), f"{name}@{version}")
    return Added(name, version, new)


def promote(place: Place, name: str, version: str) -> bool:
    """Have `registry:NAME` mean this version from now on; False: it did already.

    Raises ConfigError where there is no such version, ModelError where it cannot be used.
    """
    if version not in versions(place, name):
        raise ConfigError(_no_version(place, name, version))
    open_bundle(fetch(place, name, version))

    def step(pointer: Pointer | None) -> tuple[Action, str] | None:
        return None if pointer and pointer.current == version else ("promote", version)

    return _move(place, name, step) is not None


def rollback(place: Place, name: str) -> str:
    """Have `registry:NAME` mean the version that it meant before; returns it. Again and again goes further back.

    Raises ConfigError where there was none before, ModelError where it cannot be used.
    """

    def step(pointer: Pointer | None) -> tuple[Action, str]:
        if pointer is None or not pointer.earlier:
            serves = f"nothing served before {pointer.current}" if pointer else "no version was ever promoted"
            raise ConfigError(f"model {name!r} cannot be rolled back: {serves}")
        open_bundle(fetch(place, name, pointer.earlier[0]))
        return "rollback", pointer.earlier[0]

    moved = _move(place, name, step)
    return moved or ""


def names(place: Place) -> list[str]:
    """The names that have versions."""
    return sorted({key.partition("/")[0] for key in place.keys("") if key.endswith(f"/{LISTING}")})


def versions(place: Place, name: str) -> list[str]:
    """The versions of a name whose files are all there, sorted as people count."""
    keys = frozenset(place.keys(f"{name}/"))
    found = []
    for key in keys:
        if key.endswith(f"/{LISTING}") and key.count("/") == 2:
            version = key.split("/")[1]
            listing = _listing(place, name, version)
            if listing and all(f"{name}/{version}/{file}" in keys for file in listing.files):
                found.append(version)
    return sorted(found, key=_counted)


def pointer(place: Place, name: str) -> Pointer | None:
    """Which version serves, and which did; None: none was promoted. Raises ModelError for a file that is no pointer."""
    _check_name("name", name)
    entry = place.get(f"{name}/{POINTER}")
    return _parse(Pointer, entry.content, f"registry {place.where}: {name}/{POINTER}") if entry else None


def current(place: Place, name: str) -> str:
    """The version that serves. Raises ConfigError where none was promoted."""
    found = pointer(place, name)
    if found:
        return found.current
    there = versions(place, name)
    if there:
        raise ConfigError(
            f"model {name!r} in the registry {place.where} has the versions {', '.join(there)}, and none was promoted: "
            f"feltwire models promote {name} {there[-1]}"
        )
    raise ConfigError(_no_model(place, name))


def fetch(place: Place, name: str, version: str) -> Path:
    """The folder of a version on this machine, its files checked against their hashes.

    One from elsewhere is kept by its hash in the user's cache, which also serves while the place is out of reach.
    Raises ConfigError where there is no such version, ModelError where a file is missing or changed.
    """
    _check_name("name", name)
    _check_name("version", version)
    where = f"registry {place.where}: {name}@{version}"
    if place.folder is not None:
        listing = _listing(place, name, version)
        if listing is None:
            raise ConfigError(_no_version(place, name, version))
        folder = place.folder / name / version
        _check_files(folder, listing, where)
        return folder
    cache = config.cache_folder() / "models"
    listing = _remembered(place, name, version, cache)
    folder = cache / listing.digest
    if not folder.is_dir():
        _download(place, f"{name}/{version}", listing, folder, where)
    _check_files(folder, listing, where)
    return folder


def describe(place: Place, name: str, version: str) -> tuple[Manifest, int]:
    """The manifest of a version and its size in bytes, as they stand there: nothing else is fetched or checked.

    Raises ConfigError where there is no such version, ModelError for a manifest that cannot be read.
    """
    listing = _listing(place, name, version)
    entry = place.get(f"{name}/{version}/{MANIFEST}")
    if listing is None or entry is None:
        raise ConfigError(_no_version(place, name, version))
    return _parse(Manifest, entry.content, f"registry {place.where}: {name}/{version}/{MANIFEST}"), listing.size


def _move(place: Place, name: str, step: Any) -> str | None:
    """Write the pointer that `step` asks for, on top of whatever stands there at that moment; the version, or None."""
    _check_name("name", name)
    key = f"{name}/{POINTER}"
    for _ in range(_TRIES):
        entry = place.get(key)
        before = _parse(Pointer, entry.content, f"registry {place.where}: {key}") if entry else None
        wanted = step(before)
        if wanted is None:
            return None
        move = Move(action=wanted[0], version=wanted[1], at=datetime.now(UTC))
        after = Pointer(current=move.version, history=(*(before.history if before else ()), move))
        if place.put(key, _json(after), before=entry.tag if entry else ABSENT):
            return move.version
    raise RetryableError(f"registry {place.where}: others keep changing {key}: try again")


def _create(place: Place, key: str, content: bytes, what: str) -> bool:
    """Write what nobody has written yet; False: the same stands there. Raises ModelError where it is something else."""
    if place.put(key, content, before=ABSENT):
        return True
    there = place.get(key)
    if there is None or there.content != content:
        raise ModelError(
            f"registry {place.where}: {what} is there with other content, and a version never changes: "
            "give the bundle another version"
        )
    return False


def _files(folder: Path) -> dict[str, Path]:
    """{path below the folder: file} of everything in a bundle that is not hidden."""
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    }
    if len(found) > MAX_FILES:
        raise ModelError(f"bundle {folder}: {len(found)} files; expected at most {MAX_FILES}: is it a bundle's folder?")
    return found


def _listing(place: Place, name: str, version: str) -> Listing | None:
    key = f"{name}/{version}/{LISTING}"
    entry = place.get(key)
    return _parse(Listing, entry.content, f"registry {place.where}: {key}") if entry else None


def _remembered(place: Place, name: str, version: str, cache: Path) -> Listing:
    """The list of a version's files: the place's, or while it is out of reach the one that was seen there before."""
    memory = cache / "seen" / hashlib.sha256(f"{place.where}\0{name}\0{version}".encode()).hexdigest()
    try:
        listing = _listing(place, name, version)
    except RetryableError:
        if not memory.is_file():
            raise
        return _parse(Listing, memory.read_bytes(), str(memory))
    if listing is None:
        raise ConfigError(_no_version(place, name, version))
    if not memory.is_file():
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=memory.parent, delete=False) as part:
            part.write(_json(listing))
        Path(part.name).replace(memory)
    return listing


def _download(place: Place, prefix: str, listing: Listing, folder: Path, where: str) -> None:
    """Bring a version's files into a folder that appears when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as part:
        for name in listing.files:
            entry = place.get(f"{prefix}/{name}")
            if entry is None:
                raise ModelError(f"{where}: the file {name} is missing: add the bundle again")
            path = _inside(Path(part) / "bundle", name, where)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.content)
        _check_files(Path(part) / "bundle", listing, where)
        try:
            (Path(part) / "bundle").rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process has brought the same
                raise


def _check_files(folder: Path, listing: Listing, where: str) -> None:
    """Raises ModelError unless the files are there and are what the list says."""
    for name, expected in listing.files.items():
        path = _inside(folder, name, where)
        if not path.is_file():
            raise ModelError(f"{where}: the file {name} is missing in {folder}: add the bundle again")
        if sha256(path) != expected:
            if _is_cache(folder):
                shutil.rmtree(folder, ignore_errors=True)  # is brought anew by the next try
            raise ModelError(f"{where}: the file {name} in {folder} was changed since the bundle was added")


def _is_cache(folder: Path) -> bool:
    return folder.is_relative_to(config.cache_folder())


def _inside(folder: Path, name: str, where: str) -> Path:
    """A file's path; raises ModelError for a name that leads out of the folder."""
    path = folder / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(f"{where}: {LISTING} names a file {name!r}, which is not in the bundle")
    return path


def _parse(model: type[_T], content: bytes, where: str) -> _T:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{where}: {key + ': ' if key else ''}{first['msg']}") from error


def _json(model: BaseModel) -> bytes:
    given: Mapping[str, Any] = model.model_dump(mode="json")
    return (json.dumps(given, indent=2, ensure_ascii=False) + "\n").encode()


def _check_name(what: str, given: str) -> None:
    if not _NAME.fullmatch(given):
        raise ConfigError(f"{what} {given!r}: expected a letter or digit, then letters, digits, '.', '_' and '-'")


def _no_version(place: Place, name: str, version: str) -> str:
    there = versions(place, name)
    if not there:
        return _no_model(place, name)
    return f"model {name!r} in the registry {place.where} has no version {version!r}: it has {', '.join(there)}"


def _no_model(place: Place, name: str) -> str:
    known = ", ".join(names(place)) or "none; `feltwire models add PATH` puts one in"
    return f"the registry {place.where} has no model {name!r}: known are {known}"


def _counted(version: str) -> list[tuple[int, str]]:
    """A key that sorts 9 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", version)]
