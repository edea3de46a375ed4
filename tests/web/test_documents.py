"""The client's types are what the server gives: the same keys of the same types."""

from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from feltwire import answers
from feltwire.web.api import _documents

PAIRS = [
    (answers.Post, _documents.Post),
    (answers.Entity, _documents.Entity),
    (answers.Emoji, _documents.Emoji),
    (answers.Window, _documents.Window),
    (answers.Term, _documents.TermRow),
    (answers.Explanation, _documents.Explained),
    (answers.Word, _documents.ExplainedWord),
    (answers.TrackInfo, _documents.TrackDocument),
    (answers.Correction, _documents.Correction),
    (answers.Refused, _documents.Refused),
    (answers.Pushed, _documents.Pushed),
]


def shape(hint: Any) -> Any:
    """A type as text, in which the client's and the server's own classes are their keys."""
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or hasattr(hint, "__required_keys__")):
        return {name: shape(one) for name, one in get_type_hints(hint).items() if name != "model_config"}
    inner = [shape(one) for one in get_args(hint)]
    return [str(get_origin(hint)), *inner] if inner else str(hint)


@pytest.mark.parametrize(("given", "document"), PAIRS, ids=lambda one: one.__name__)
def test_the_client_s_types_are_the_server_s(given: type, document: type) -> None:
    assert shape(given) == shape(document)
