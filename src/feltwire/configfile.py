"""Settings before they are checked: the TOML file, the environment laid over it, secrets filled in."""

import json
import re
import stat
import tomllib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Final

from feltwire.errors import ConfigError

FILE: Final = Path("feltwire.toml")
PREFIX: Final = "FELTWIRE_"

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read(path: Path | None) -> dict[str, Any]:
    """The settings as the file has them; nothing where there is no file and none was named."""
    file = path or FILE
    if path is None and not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; `feltwire init` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def overlay(raw: dict[str, Any], environ: Mapping[str, str], sections: Container[str]) -> None:
    """Lay the environment's settings over what the file says; `sections` are the names that one may have."""
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        keys = name.removeprefix(PREFIX).lower().split("__")
        # A name with one part only is a setting where it names a section; otherwise it is somebody else's.
        if len(keys) == 1 and keys[0] not in sections:
            continue
        _put(raw, keys, _value(environ[name]), name)


def _value(text: str) -> Any:
    """What a variable holds: JSON where it looks like an object or a list, otherwise the text itself."""
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _put(raw: Any, keys: list[str], value: Any, name: str) -> None:
    """Set `value` at a path of keys, making the tables and list entries on the way."""
    target = raw
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if isinstance(target, list):
            if not key.isdecimal() or int(key) > len(target):
                raise ConfigError(f"{name}: expected a number from 0 to {len(target)} in place of {key!r}")
            at: Any = int(key)
            if at == len(target):
                target.append({})
        elif isinstance(target, dict):
            at = key
        else:
            raise ConfigError(f"{name}: there is nothing below {key!r}")
        if following is None:
            target[at] = value
        elif isinstance(target, dict):
            target = target.setdefault(at, [] if following.isdecimal() else {})
        else:
            target = target[at]


def refuse_plain_token(raw: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """A secret does not stand in a file that is shared: raises ConfigError for a token written out."""
    serve = raw.get("serve")
    for name in ("token", "write_token", "read_token"):
        token = serve.get(name) if isinstance(serve, dict) else None
        if isinstance(token, str) and "${" not in token and f"{PREFIX}SERVE__{name.upper()}" not in environ:
            raise ConfigError(
                f"serve.{name}: a secret does not stand in the file: write ${{NAME}} and set NAME in the environment, "
                f"or name a file of mode 600 in serve.{name}_file"
            )


def values(raw: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """What `${NAME}` may stand for: the secrets file, and over it the environment."""
    secrets = raw.get("secrets")
    file = secrets.get("file") if isinstance(secrets, dict) else None
    if not isinstance(file, str):
        return dict(environ)
    found = {}
    for number, line in enumerate(read_secret(Path(file), "secrets.file").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, equals, value = line.partition("=")
            if not equals:
                raise ConfigError(f"secrets.file: line {number} of {file} is not NAME=value")
            found[name.strip()] = value.strip()
    return {**found, **environ}


def read_secret(path: Path, key: str) -> str:
    """The text of a file that holds a secret; `key` is the setting that names it.

    Raises ConfigError unless it can be read and its owner alone may.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(f"{key}: {path} has mode {mode:o}, others may read it: chmod 600 {path}")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: {path} cannot be read: {error}") from error


def interpolate(value: Any, values: Mapping[str, str], where: tuple[str, ...] = ()) -> Any:
    """`value` with every `${NAME}` in its texts replaced."""
    if isinstance(value, dict):
        return {key: interpolate(inner, values, (*where, str(key))) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner, values, (*where, str(at))) for at, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if name not in values:
            raise ConfigError(f"{'.'.join(where)}: {match[0]}: the environment has no {name}; set it")
        return values[name]

    return _VARIABLE.sub(replace, value)
