"""A pytest plugin that writes docs/proofs/DATE.md after a run: `pytest -p tests.proof_report -m prove`.

A proof tells its seed and counts by pytest's own fixture: `record_property("schedules", 500)`.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "proofs"


class Proof(NamedTuple):
    """One test's line in the report."""

    test: str
    claim: str
    outcome: str
    seconds: float
    facts: str


_proofs: list[Proof] = []
_CLAIM = "claim"  # the property by which a test's docstring travels from the process that ran it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what the test claims: the first line of its docstring."""
    report = yield
    doc = getattr(getattr(item, "function", None), "__doc__", None) or item.name
    report.user_properties.append((_CLAIM, doc.strip().partition("\n")[0].rstrip(".")))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what the report says of a test; setup and teardown count only when they fail."""
    if report.when == "call" or report.outcome != "passed":
        properties = dict(report.user_properties)
        claim = str(properties.pop(_CLAIM, report.nodeid))
        facts = ", ".join(f"{name} = {value}" for name, value in properties.items())
        _proofs.append(Proof(report.nodeid, claim, report.outcome, report.duration, facts))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report, also of a run that failed: it says so. A worker of several leaves it to the one in charge."""
    if _proofs and not hasattr(session.config, "workerinput"):
        now = datetime.now(UTC)
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{now:%Y-%m-%d}.md").write_text(render(_proofs, now))


def render(proofs: list[Proof], now: datetime) -> str:
    """The report as Markdown."""
    passed = sum(proof.outcome == "passed" for proof in proofs)
    lines = [
        f"# Proofs of {now:%Y-%m-%d}",
        "",
        f"`make prove` at {now:%H:%M} UTC, on commit {_commit()}: {passed} of {len(proofs)} passed.",
        "",
        f"Python {platform.python_version()}, {sys.platform} {platform.machine()}, {os.cpu_count()} CPU cores.",
        "",
        "| claim | outcome | seconds | seed and counts | test |",
        "|---|---|---:|---|---|",
        *(
            f"| {_cell(p.claim)} | {p.outcome} | {p.seconds:.1f} | {_cell(p.facts)} | `{_cell(p.test)}` |"
            for p in sorted(proofs)
        ),
        "",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    return f"`{done.stdout.strip()}`" if done.returncode == 0 else "unknown"
