"""Rows of any origin to batches of `schema.RECORD`: which column means what, and what is refused.

Every row that goes in comes out as one record, in its place: a post, an edit, a withdrawal or a refusal. What
becomes of a row depends on that row alone, never on the rows beside it in a batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feltwire import schema
from feltwire.sources._coerce import CONVERTERS, Values
from feltwire.sources._names import ALIASES, MAX_CHARS, PARENTS, meanings, squash

MAX_ID_CHARS: Final = 512
_KINDS: Final = (schema.POST, schema.EDIT, schema.WITHDRAWAL)

_IDS: Final = frozenset({"id", "conversation_id", "reply_to_id", "quote_of_id", "repost_of_id"})


class Rows:
    """Makes records of rows. `columns` says by hand which name of the input fills which column."""

    def __init__(self, source: str, *, live: bool, columns: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._live = live
        self._given = dict(columns or {})
        self._taken = frozenset(self._given.values())

    def wanted(self, names: Sequence[str]) -> dict[str, list[str]]:
        """{column of a record: the names among `names` that fill it, the first non-null one of them counts}."""
        plan: dict[str, list[tuple[int, str]]] = {}
        present = frozenset(names)
        for target, name in self._given.items():
            if name and name in present:
                plan[target] = [(0, name)]
        for name in dict.fromkeys(names):
            if name in self._taken:
                continue
            for target, rank in meanings(name):
                if target not in self._given:
                    plan.setdefault(target, []).append((rank, name))
        return {target: [name for _, name in sorted(ranked)] for target, ranked in plan.items()}

    def from_objects(
        self,
        objects: Sequence[Any],
        faults: Mapping[int, str],
        *,
        key: Callable[[int], str],
        payload: Callable[[int], bytes | str],
    ) -> pa.RecordBatch:
        """Records of decoded JSON values. See `from_columns` for the rest."""
        faults = dict(faults)
        rows: list[dict[str, Any]] = []
        for i, value in enumerate(objects):
            if type(value) is dict:
                rows.append(value)
            else:
                rows.append({})
                faults.setdefault(i, f"a JSON {_json_type(value)}, where an object is expected")
        names = dict.fromkeys(chain.from_iterable(rows))
        paths = [path for path in self._taken if "." in path]
        for parent in names:
            if len(parent) <= MAX_CHARS and squash(parent) in PARENTS:
                paths += _members(parent, [row.get(parent) for row in rows])
        nested = {path: [row[path] if path in row else _walk(row, path) for row in rows] for path in paths}
        plan = self.wanted([*names, *nested])
        columns = {
            name: nested[name] if name in nested else [row.get(name) for row in rows]
            for name in dict.fromkeys(chain.from_iterable(plan.values()))
        }
        return self._records(plan, columns, len(rows), faults, key=key, payload=payload)

    def from_columns(
        self,
        columns: Mapping[str, Values],
        count: int,
        faults: Mapping[int, str],
        *,
        key: Callable[[int], str],
        payload: Callable[[int], bytes | str],
    ) -> pa.RecordBatch:
        """Records of `count` rows given as columns.

        `faults` are rows already known to be refused, with the reason. `key(i)` is the position of row i in the
        input, unique in this source: a row without an id gets one from it. `payload(i)` is the row as it came.
        """
        return self._records(self.wanted(list(columns)), columns, count, dict(faults), key=key, payload=payload)

    def _records(
        self,
        plan: Mapping[str, Sequence[str]],
        columns: Mapping[str, Values],
        count: int,
        faults: dict[int, str],
        *,
        key: Callable[[int], str],
        payload: Callable[[int], bytes | str],
    ) -> pa.RecordBatch:
        made = {
            target: _first_known([_converted(target, columns[name]) for name in names])
            for target, names in plan.items()
        }
        made = {target: self._tidied(target, array) for target, array in made.items()}
        for target in ALIASES:
            made.setdefault(target, pa.nulls(count, schema.RECORD.field(target).type))
        _settle_kinds(made, count, faults)
        _check_texts(made, faults)
        made["id"] = self._identified(made, faults, key, payload)
        refusals = pa.nulls(count, pa.string())
        payloads = refusals
        if faults:
            made, refusals, payloads = _refused(made, count, faults, payload)
        return pa.RecordBatch.from_arrays(
            [
                *(made[name] for name in ("kind", "id", "revision")),
                pa.repeat(pa.scalar(self._source, pa.string()), count),
                pa.repeat(pa.scalar(self._live, pa.bool_()), count),
                *(made[name] if name in made else pa.nulls(count, schema.TIME) for name in schema.RECORD.names[5:-2]),
                refusals,
                payloads,
            ],
            schema=schema.RECORD,
        )

    def _tidied(self, target: str, array: pa.Array) -> pa.Array:
        """Ids with the source before them, a language as its bare code, a handle without @, blanks as nulls."""
        if array.type != pa.string() or target in ("text", "raw"):
            return array
        if target == "author_handle":
            array = _known(pc.utf8_ltrim(array, "@ "))
        elif target == "lang":
            array = pc.utf8_lower(array)
            array = pc.struct_field(pc.extract_regex(array, r"^\s*(?P<code>[a-z]{2,3})(?:[-_].*)?\s*$"), "code")
            return pc.if_else(pc.is_in(array, pa.array(["und", "unk", "zxx", "mul"])), None, array)
        if target in _IDS:
            prefix = f"{self._source}:"
            full = pc.binary_join_element_wise(prefix, array, "")
            array = pc.if_else(pc.starts_with(array, prefix), array, full)
        return array

    def _identified(
        self,
        made: Mapping[str, pa.Array],
        faults: dict[int, str],
        key: Callable[[int], str],
        payload: Callable[[int], bytes | str],
    ) -> pa.Array:
        """The given ids; where there is none, one made of the position and of the text or the refused payload."""
        ids, texts, kinds = made["id"], made["text"], made["kind"]
        long = pc.greater(pc.utf8_length(ids), MAX_ID_CHARS)
        for i in _places(long):
            faults.setdefault(i, f"an id longer than {MAX_ID_CHARS} characters")
        bare = np.asarray(pc.and_not(ids.is_null(), pc.equal(kinds, schema.WITHDRAWAL)))
        lacking = sorted({*np.flatnonzero(bare).tolist(), *faults})
        if not lacking:
            return ids
        known = texts.take(pa.array(lacking, pa.int64())).to_pylist()
        new = [
            self.position_id(key(i), text_of(payload(i)) if i in faults else text)
            for i, text in zip(lacking, known, strict=True)
        ]
        mask = np.zeros(len(ids), dtype=bool)
        mask[lacking] = True
        return pc.replace_with_mask(ids, pa.array(mask), pa.array(new, pa.string()))

    def position_id(self, key: str, content: str | None) -> str:
        """The id of something that has none: `<source>:<sha of its position and content>`.

        The content takes part so that another text at the same place, of a file that was overwritten or
        rotated, is another post and not a repeat.
        """
        digest = hashlib.sha256(f"{key}\0{content or ''}".encode(errors="backslashreplace"))
        return f"{self._source}:{digest.hexdigest()[:32]}"


def text_of(payload: bytes | str) -> str:
    """What was refused, as bounded text; bytes that are no UTF-8 are written as \\xNN."""
    if isinstance(payload, bytes):
        payload = payload[: 4 * schema.MAX_PAYLOAD_CHARS].decode(errors="backslashreplace")
    elif not payload.isascii():
        payload = payload.encode(errors="backslashreplace").decode()
    return payload[: schema.MAX_PAYLOAD_CHARS]


def _members(parent: str, values: list[Any]) -> list[str]:
    """The members of nested objects that mean something, as `parent.member`."""
    members = dict.fromkeys(chain.from_iterable(value for value in values if type(value) is dict))
    return [f"{parent}.{member}" for member in members if meanings(f"{parent}.{member}")]


def _walk(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value.get(step) if type(value) is dict else None
    return value


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _converted(target: str, values: Values) -> pa.Array:
    array = CONVERTERS[schema.RECORD.field(target).type](values)
    return _known(array) if array.type == pa.string() else array


def _known(texts: pa.Array) -> pa.Array:
    """Texts with the empty ones as nulls: CSV has no other way to say that there is none."""
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _first_known(arrays: Sequence[pa.Array]) -> pa.Array:
    """Row by row the first value that is known."""
    first, *others = arrays
    for other in others:
        if not first.null_count:
            break
        first = (
            pc.if_else(first.is_valid(), first, other) if first.type == schema.STRINGS else pc.coalesce(first, other)
        )
    return first


def _settle_kinds(made: dict[str, pa.Array], count: int, faults: dict[int, str]) -> None:
    """Fill in kind and revision, and refuse kinds and revisions that do not go together."""
    kinds, revisions = made["kind"], made["revision"]
    if kinds.null_count == count and revisions.null_count == count:
        made["kind"] = pa.repeat(pa.scalar(schema.POST, pa.string()), count)
        made["revision"] = pa.repeat(pa.scalar(0, pa.int64()), count)
        return
    kinds = pc.fill_null(kinds, schema.POST)
    for i in _places(pc.invert(pc.is_in(kinds, pa.array(_KINDS)))):
        came = kinds[i].as_py()[:MAX_ID_CHARS]
        faults.setdefault(i, f"kind {came[:40]!r}; allowed are {', '.join(_KINDS)}")
    revisions = pc.if_else(pc.less(revisions, 0), None, revisions)
    edits = pc.equal(kinds, schema.EDIT)
    withdrawals = pc.equal(kinds, schema.WITHDRAWAL)
    numbered = pc.fill_null(pc.greater(revisions, 0), False)
    for i in _places(pc.and_(edits, pc.invert(pc.and_(numbered, made["id"].is_valid())))):
        faults.setdefault(i, "an edit without an id and a revision of 1 or more")
    for i in _places(pc.and_(withdrawals, pc.and_(made["id"].is_null(), made["author_id"].is_null()))):
        faults.setdefault(i, "a withdrawal without an id and without an author_id")
    default = pc.if_else(withdrawals, pa.scalar(schema.LAST_REVISION, pa.int64()), pa.scalar(0, pa.int64()))
    made["kind"] = kinds
    made["revision"] = pc.coalesce(revisions, default)


def _check_texts(made: dict[str, pa.Array], faults: dict[int, str]) -> None:
    """Refuse posts and edits without a text (a repost may lack one) and those of absurd length."""
    texts = made["text"]
    needed = pc.and_(pc.not_equal(made["kind"], schema.WITHDRAWAL), made["repost_of_id"].is_null())
    blank = pc.or_kleene(texts.is_null(), pc.equal(pc.utf8_trim_whitespace(texts), ""))
    for i in _places(pc.and_(needed, blank)):
        faults.setdefault(i, "no text")
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > schema.MAX_TEXT_CHARS:
        for i in _places(pc.greater(pc.utf8_length(texts), schema.MAX_TEXT_CHARS)):
            faults.setdefault(i, f"a text longer than {schema.MAX_TEXT_CHARS} characters")
    made["text"] = pc.if_else(pc.and_(texts.is_null(), pc.not_equal(made["kind"], schema.WITHDRAWAL)), "", texts)


def _refused(
    made: Mapping[str, pa.Array], count: int, faults: Mapping[int, str], payload: Callable[[int], bytes | str]
) -> tuple[dict[str, pa.Array], pa.Array, pa.Array]:
    """The columns with the rows of `faults` made refusals, and the columns `refusal` and `payload`."""
    mask = np.zeros(count, dtype=bool)
    mask[list(faults)] = True
    sound = pa.array(~mask)
    cleared = {
        name: array if name == "id" else pc.if_else(sound, array, pa.scalar(None, array.type))
        for name, array in made.items()
    }
    cleared["kind"] = pc.fill_null(cleared["kind"], schema.REFUSAL)
    cleared["revision"] = pc.fill_null(cleared["revision"], 0)
    refusals: list[str | None] = [None] * count
    payloads: list[str | None] = [None] * count
    for i, reason in faults.items():
        refusals[i] = reason
        payloads[i] = text_of(payload(i))
    return cleared, pa.array(refusals, pa.string()), pa.array(payloads, pa.string())


def _places(mask: pa.Array) -> list[int]:
    """The rows where a mask is true; null is not."""
    if not pc.any(mask).as_py():
        return []
    return np.flatnonzero(np.asarray(pc.fill_null(mask, False))).tolist()
