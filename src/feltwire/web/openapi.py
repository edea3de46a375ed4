"""The OpenAPI document at `/openapi.json`, and a page at `/docs` that shows it; nothing is loaded from elsewhere."""

import html
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse

from feltwire.web.api._documents import ProblemDocument

_DESCRIPTION: Final = (
    "What people feel, as it happens. Times are ISO 8601 in UTC; errors are `application/problem+json` (RFC 9457). "
    "Where the server has tokens, send one as `Authorization: Bearer …`."
)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.75rem}h2{font-size:1.1rem;margin:2rem 0 .25rem;border-top:1px solid #8886;padding-top:1rem}
code,b.m{font-family:ui-monospace,monospace;font-size:.95em}b.m{display:inline-block;min-width:4.5rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0}
details{margin:.25rem 0}summary{cursor:pointer}
"""


def install(app: FastAPI) -> None:
    """Give an application its document and its page."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation has it done

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        """What the API takes and gives."""
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        """The same for people."""
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": _POLICY})


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDocument"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{}, {"token": []}]
    return found


def page(document: dict[str, Any]) -> str:
    """The operations of a document as one HTML page without scripts."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{_text(info['title'])} API <small>{_text(info['version'])}</small></h1>",
        f"<p>{_text(info['description'])}</p><p>The document: <a href=/openapi.json>/openapi.json</a></p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(document, method.upper(), path, operation))
    return "".join(parts) + "</html>"


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f"<h2 id={_text(operation['operationId'])}><b class=m>{method}</b> <code>{_text(path)}</code></h2>",
        f"<p>{_text(operation.get('description', ''))}</p>",
    ]
    rows = [(one["name"], one["in"], _kind(one["schema"]), one.get("description", "")) for one in
            operation.get("parameters", [])]  # fmt: skip
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    fields = _resolved(document, body).get("properties", {})
    required = _resolved(document, body).get("required", [])
    rows += [
        (name, "body, required" if name in required else "body", _kind(one), one.get("description", ""))
        for name, one in fields.items()
    ]
    if rows:
        cells = ("".join(f"<td>{_text(str(cell))}" for cell in row[1:]) for row in rows)
        lines = (f"<tr><td><code>{_text(row[0])}</code>{rest}" for row, rest in zip(rows, cells, strict=True))
        parts.append(f"<table><tr><th>name<th>in<th>type<th>meaning{''.join(lines)}</table>")
    codes = ", ".join(f"{code} {_text(one['description'])}" for code, one in operation["responses"].items())
    parts.append(f"<details><summary>Answers</summary>{codes}</details>")
    return "".join(parts)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"].get(name, schema)
    return found


def _kind(schema: dict[str, Any]) -> str:
    either = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    if either:
        return _kind(either[0])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"{_kind(schema.get('items', {}))}, several"
    return str(schema.get("type", "object"))


def _text(text: str) -> str:
    return html.escape(text, quote=True)
