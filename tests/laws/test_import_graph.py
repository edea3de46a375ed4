"""The shape of the code: imports point downwards, plugins know nothing of each other, and there is no cycle."""

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "feltwire"

Graph: TypeAlias = dict[str, set[str]]
"""{module: the modules of the same tree that it imports}, each by its full name."""

# The floors of the house, from the ground up. A module or package belongs to the floor that lists its name (the
# first after `feltwire.`); one that no floor lists belongs to the floor with the "…". It may import from its own
# floor and from those below.
OTHERS = "…"
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"feltwire", "schema", "errors"}),
    frozenset({"interfaces", "metrics", "config", "text", "language", "tracks", "windows", "registry", OTHERS}),
    frozenset({"stages", "models", "lake", "sources", "logs"}),
    frozenset({"pipeline", "doctor", "lab", "mood", "report"}),
    frozenset({"followers", "following"}),
    frozenset({"engines"}),
    frozenset({"web"}),
    frozenset({"service", "backfill"}),
    frozenset({"cli", "__main__"}),
)

# Each module in these folders is a plugin; a leading underscore makes it a helper that its folder shares.
PLUGIN_FOLDERS = frozenset({"sources", "logs", "models", "engines", "followers"})


def modules(root: Path) -> dict[str, Path]:
    """{full name: file} of every module below `root`, whose own name is the first part."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Every dotted name that a module of `package` imports, wherever in the module the import stands.

    `from a import b` gives `a.b`: b may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*outer, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def import_graph(root: Path) -> Graph:
    """What imports what below `root`."""
    files = modules(root)
    graph: Graph = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        targets = set()
        for imported in imported_names(ast.parse(path.read_text(encoding="utf-8")), package):
            # The longest part of the name that is a module: the rest are things inside it.
            target = imported
            while target and target not in files:
                target = target.rpartition(".")[0]
            if target:
                targets.add(target)
        graph[name] = targets - {name}
    return graph


def floor(module: str) -> int:
    """The number of the floor that a module belongs to; the ground floor is 0."""
    _, _, inside = module.partition(".")
    part = inside.partition(".")[0] or module
    others = next(number for number, parts in enumerate(FLOORS) if OTHERS in parts)
    return next((number for number, parts in enumerate(FLOORS) if part in parts), others)


def plugin(module: str) -> str | None:
    """The plugin that a module is, or is a part of: `sources.bluesky`. None: it is no part of a plugin."""
    match module.split(".")[1:]:
        case [folder, name, *_] if folder in PLUGIN_FOLDERS and not name.startswith("_"):
            return f"{folder}.{name}"
    return None


def in_plugin_folder(module: str) -> bool:
    """Whether a module is a plugin, or one of the helpers that a plugin folder shares."""
    return module.split(".")[1:2] != [] and module.split(".")[1] in PLUGIN_FOLDERS


def violations(graph: Graph) -> Iterable[str]:
    """One line for each broken rule."""
    for module, targets in sorted(graph.items()):
        for target in sorted(targets):
            if floor(target) > floor(module):
                yield f"{module} imports {target}, which is on a higher floor"
            if in_plugin_folder(module) and plugin(target) not in (None, plugin(module)):
                yield f"{module} imports {target}: plugins do not know each other; share by a module with an underscore"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # graphlib lists each module before the one that imports it.
        yield "cycle: " + " imports ".join(reversed(error.args[1]))


def test_imports_follow_the_floors() -> None:
    broken = list(violations(import_graph(SOURCE)))
    assert not broken, "\n" + "\n".join(broken)


def test_the_graph_holds_the_tree() -> None:
    graph = import_graph(SOURCE)
    assert graph["feltwire.schema"] == {"feltwire.errors"}
    assert graph["feltwire.registry"] >= {"feltwire.errors"}


def plant(root: Path, files: dict[str, str]) -> Graph:
    """The graph of a small tree: {path below feltwire/: source}; its packages are made for it."""
    for path, text in files.items():
        file = root / "feltwire" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for folder in [root / "feltwire", *(p for p in (root / "feltwire").rglob("*") if p.is_dir())]:
        (folder / "__init__.py").touch()
    return import_graph(root / "feltwire")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"schema.py": "import feltwire.text", "text.py": ""}, "feltwire.schema imports feltwire.text, which"),
        ({"errors.py": "from feltwire import text", "text.py": ""}, "feltwire.errors imports feltwire.text, which"),
        ({"lake/rows.py": "from feltwire.web import app", "web/app.py": ""}, "feltwire.lake.rows imports"),
        ({"novel.py": "from feltwire.pipeline import f", "pipeline.py": ""}, "feltwire.novel imports"),
        ({"text.py": "def f():\n    from feltwire import cli", "cli.py": ""}, "feltwire.text imports feltwire.cli"),
        ({"__init__.py": "from feltwire.text import f", "text.py": ""}, "feltwire imports feltwire.text"),
        ({"sources/a.py": "from feltwire.sources import b", "sources/b.py": ""}, "plugins do not know each other"),
        ({"sources/a.py": "from . import b", "sources/b.py": ""}, "plugins do not know each other"),
        ({"sources/a.py": "from ..logs.b import B", "logs/b.py": ""}, "plugins do not know each other"),
        ({"sources/_a.py": "import feltwire.sources.b", "sources/b.py": ""}, "plugins do not know each other"),
        ({"logs/a/x.py": "import feltwire.logs.b.y", "logs/b/y.py": ""}, "plugins do not know each other"),
        ({"text.py": "import feltwire.tracks", "tracks.py": "import feltwire.text"}, "cycle: "),
        ({"lake/a.py": "from feltwire.lake import b", "lake/b.py": "from feltwire.lake.a import x"}, "cycle: "),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, files: dict[str, str], message: str) -> None:
    broken = list(violations(plant(tmp_path, files)))
    assert len(broken) == 1
    assert message in broken[0]


def test_a_cycle_is_told_in_the_order_of_its_imports(tmp_path: Path) -> None:
    circle = {"a.py": "import feltwire.b", "b.py": "import feltwire.c", "c.py": "import feltwire.a"}
    (line,) = violations(plant(tmp_path, circle))
    assert "feltwire.a imports feltwire.b" in line or "feltwire.b imports feltwire.c" in line


@pytest.mark.parametrize(
    "files",
    [
        {"lake/a.py": "from feltwire.lake.b import x", "lake/b.py": "from feltwire import schema", "schema.py": ""},
        {"sources/a.py": "from feltwire.sources._http import get", "sources/_http.py": "import feltwire.text"},
        {"logs/a/x.py": "from feltwire.logs.a import y", "logs/a/y.py": "import json"},
        {
            "cli.py": "from feltwire.web.app import app",
            "web/app.py": "from feltwire import engines",
            "engines/a.py": "",
        },
        {"stages/score.py": "from feltwire.models._bundle import f", "models/_bundle.py": ""},
    ],
)
def test_a_kept_rule_is_not_complained_of(tmp_path: Path, files: dict[str, str]) -> None:
    assert list(violations(plant(tmp_path, files))) == []
