"""Packs this Python, Feltwire and what its extras need into one archive for executors that have none of them.

    python pack.py --extras spark,kafka,aws --out feltwire-env.tar.gz

The archive unpacks to `bin/python` and `lib/`, and may lie anywhere. The interpreter has to be one that can be moved,
such as `uv python install` brings; a distribution's own (/usr/bin/python3) is spread over the system, and is refused.
"""

import argparse
import os
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/{VERSION}/site-packages"
# Of the standard library: what no executor runs.
LEFT_OUT = re.compile(r"/(site-packages|test|tests|idlelib|tkinter|turtledemo|ensurepip|config-[^/]*|__pycache__)(/|$)")


def distributions(root: str, extras: Iterable[str]) -> dict[str, Distribution]:
    """{name: distribution} of everything that `root` needs with some of its extras, `root` itself among them."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    wanted = [(root, extra) for extra in ("", *extras)]
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = found.get(name) or distribution(name)
        for text in found[name].requires or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                wanted += [(_plain(need.name), more) for more in ("", *need.extras)]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def files(root: str, found: dict[str, Distribution], *, jars: bool) -> Iterator[tuple[Path, str]]:
    """(file, its name in the archive) of the interpreter, its standard library, and every distribution."""
    base = Path(sys.base_prefix)
    yield Path(os.path.realpath(sys.executable)), "bin/python"
    yield from ((library, f"lib/{library.name}") for library in sorted((base / "lib").glob("libpython*.so*")))
    for path in sorted((base / "lib" / VERSION).rglob("*")):
        name = path.relative_to(base).as_posix()
        if path.is_file() and not LEFT_OUT.search(f"/{name}"):
            yield path, name
    for one in found.values():
        for listed in one.files or ():
            name = listed.as_posix()
            unwanted = name.startswith("..") or "/__pycache__/" in name or name.endswith(".pth")
            if not unwanted and (jars or not name.startswith("pyspark/jars/")):
                path = Path(str(one.locate_file(listed)))
                if path.is_file():
                    yield path, f"{SITE}/{name}"
    spec = find_spec(root)  # an editable install lists no files of its own
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path, f"{SITE}/{root}/{path.relative_to(package).as_posix()}"


def pack(out: Path, extras: list[str], *, jars: bool = True, level: int = 3, root: str = "feltwire") -> int:
    """Write the archive; returns the number of files. It is complete when it has its name."""
    if not out.name.endswith((".tar.gz", ".tgz")):  # Spark unpacks others without the right to execute
        raise SystemExit(f"--out {out}: the name has to end with .tar.gz or .tgz")
    if sys.base_prefix in ("/usr", "/usr/local"):
        raise SystemExit(f"{sys.base_prefix} has a Python that cannot be moved: use one of `uv python install`")
    try:
        unknown = set(extras) - set(distribution(root).metadata.get_all("Provides-Extra") or ())
        if unknown:
            raise SystemExit(f"{root} as it is installed here has no extra {sorted(unknown)[0]!r}: install it anew")
        found = distributions(root, extras)
    except PackageNotFoundError as error:
        raise SystemExit(f"{error.name} is not installed here: pip install '{root}[{','.join(extras)}]'") from error
    part = out.with_name(f".{out.name}.part")
    names: set[str] = set()
    with tarfile.open(part, "w:gz", compresslevel=level) as archive:
        for path, name in files(root, found, jars=jars):
            if name not in names:
                names.add(name)
                archive.add(os.path.realpath(path), name, recursive=False)
    part.rename(out)
    return len(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="spark", help="Feltwire's extras, with commas between them")
    parser.add_argument("--out", type=Path, default=Path("feltwire-env.tar.gz"), help="a .tar.gz or .tgz")
    parser.add_argument(
        "--without-jars", action="store_true", help="leave Spark's jars out: for executors alone, half the size"
    )
    parser.add_argument("--level", type=int, default=3, choices=range(10), help="of compression; 0: none")
    given = parser.parse_args()
    extras = [one for one in given.extras.split(",") if one]
    count = pack(given.out, extras, jars=not given.without_jars, level=given.level)
    sys.stderr.write(f"{given.out}: {count:,} files, {given.out.stat().st_size / 1e6:,.0f} MB\n")


if __name__ == "__main__":
    main()
