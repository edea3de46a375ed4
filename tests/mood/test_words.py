"""Which words are counted."""

import pyarrow as pa
import pytest

from feltwire.mood.words import words


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("The crew was lovely and so were they", {"crew", "lovely"}),
        ("No bag, NO answer", {"no", "bag", "answer"}),
        ("Qué vuelo más largo con la aerolínea", {"vuelo", "largo", "aerolínea"}),
        ("Der Flug ist nicht gut und das Essen auch nicht", {"flug", "gut", "essen"}),
        ("Le vol est en retard et nous avons faim", {"vol", "retard", "avons", "faim"}),
        ("the door of our hay barn met its sin", {"door", "hay", "barn", "met", "sin"}),
        ("@larkwing #larkwingfail https://airline.example/a late", {"late"}),
    ],
)
def test_what_says_little_is_not_counted(text: str, counted: set[str]) -> None:
    _, found = words(pa.array([text]))
    assert set(found.to_pylist()) == counted
