"""Everything that the OpenAPI document allows, and much that it does not, gets an answer that the document knows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from tests.conftest import PROVING
from tests.web.serving import served, serving

from feltwire.web.app import State, create_app

ENDLESS = "/api/v1/stream"
OPERATIONS = sorted(
    (path, method.upper())
    for path, methods in create_app(State()).openapi()["paths"].items()
    for method in methods
    if path != ENDLESS
)


@pytest.fixture(scope="module")
def document(lake: Path) -> Iterator[Any]:
    """The document of a server over the lake of simulated posts."""
    with serving(State(lake=served(lake), model="lexicon:vader")) as client:
        yield schemathesis.openapi.from_url(f"{str(client.base_url).rstrip('/')}/openapi.json")


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation(document: Any, path: str, method: str) -> None:
    @given(case=document[path][method].as_strategy())
    @settings(
        max_examples=200 if PROVING else 10,
        suppress_health_check=list(HealthCheck),
        deadline=None,
        phases=[Phase.generate],
    )
    def check(case: Any) -> None:
        # A schema cannot say all that makes a cursor, a query or a label valid: such requests get 422.
        case.call_and_validate(excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")])

    check()
