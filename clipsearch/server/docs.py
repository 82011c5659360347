"""The API's page at /docs: the OpenAPI document as HTML, without scripts from anywhere.

Swagger's usual page loads its scripts from a content network, which fails offline and would run
foreign code beside a token.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

__all__ = ["docs_page"]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:56em;margin:2em auto;padding:0 1em;color:#222}
h2{margin-top:2em}details{border:1px solid #ccc;border-radius:6px;margin:.6em 0;padding:.5em 1em}
summary{cursor:pointer}code,pre{font-family:ui-monospace,monospace;background:#f4f4f4}
pre{padding:.7em;overflow-x:auto;white-space:pre-wrap}.m{font-weight:700;margin-right:.7em}
table{border-collapse:collapse}td,th{border:1px solid #ddd;padding:.2em .6em;text-align:left}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code,pre{background:#2a2a2a}}
"""


def docs_page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: every operation with parameters, body, examples and curl."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        "<p>For programs: <a href='/openapi.json'>openapi.json</a> (OpenAPI 3.1).</p>",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(path, method, operation, document))
    for tag, shown in by_tag.items():
        parts += [f"<h2>{escape(tag)}</h2>", *shown]
    return "\n".join(parts) + "</html>"


def _operation(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    summary, _, curl = operation.get("description", "").partition("\n\n")
    rows = [
        (f"{p['name']} ({p['in']})", p.get("schema", {}), p.get("required", False), p)
        for p in operation.get("parameters", [])
    ]
    examples: list[Any] = []
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(content.get("schema", {}), document)
        examples += schema.get("examples", [])
        required = schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            rows.append((f"{name} ({media})", field, name in required, field))
    table = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_kind(schema))}</td>"
        f"<td>{'required' if required else ''}</td>"
        f"<td>{escape(str(about.get('description', '')))}</td></tr>"
        for name, schema, required, about in rows
    )
    shown = "".join(
        f"<pre>{escape(json.dumps(example, ensure_ascii=False))}</pre>" for example in examples
    )
    return (
        f"<details><summary><span class='m'>{method.upper()}</span><code>{escape(path)}</code> "
        f"{escape(summary)}</summary>"
        + (f"<table>{table}</table>" if table else "")
        + (f"<p>Examples of the body:</p>{shown}" if shown else "")
        + (f"<pre>{escape(' '.join(curl.split()))}</pre>" if curl else "")
        + "</details>"
    )


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"].get(name, schema)
    return found


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    return str(schema.get("type", schema.get("const", "any")))
