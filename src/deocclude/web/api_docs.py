"""The API described on a page of its own, from the OpenAPI description: nothing is loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>deocclude: the HTTP API</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h2 {{ font-size: 1.1rem; margin: 2.5rem 0 .5rem; }} code, pre {{ background: #f3f4f6; border-radius: 4px; }}
code {{ padding: 0 .25em; }} pre {{ padding: .75rem; overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }} td, th {{ text-align: left; vertical-align: top;
padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #e5e7eb; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} code, pre {{ background: #222; }} }}
</style></head><body>
<h1>The HTTP API</h1>
<p>The same methods as the <a href="/">page</a>, for programs. The machine-readable description is
<a href="openapi.json">openapi.json</a>. Whatever cannot be used is answered with a status from 400 on and
<code>{{"error": "a sentence"}}</code>. A server that other machines reach asks for its token: add
<code>-H "Authorization: Bearer TOKEN"</code>. The hidden part of a person is invented: never use it to identify
anyone.</p>
{operations}
</body></html>"""

_EXAMPLES = {
    "/api/health": "curl {base}/api/health",
    "/api/people": "curl -F image=@photo.jpg {base}/api/people",
    "/api/deocclude": "curl -F image=@photo.jpg -F people=largest {base}/api/deocclude -o layers.zip",
}


def api_page(description: dict[str, Any], base_url: str) -> str:
    """HTML for an OpenAPI description (a dictionary as in openapi.json)."""
    operations = [
        _operation(method, path, operation, description, base_url)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return _PAGE.format(operations="\n".join(operations))


def _operation(method: str, path: str, operation: dict[str, Any], description: dict[str, Any], base_url: str) -> str:
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in operation.get("description", "").split("\n\n"))
    example = _EXAMPLES.get(path, "").format(base=base_url.rstrip("/"))
    return f"<h2><code>{method.upper()} {escape(path)}</code></h2>{paragraphs}{_fields(operation, description)}" + (
        f"<pre>{escape(example)}</pre>" if example else ""
    )


def _fields(operation: dict[str, Any], description: dict[str, Any]) -> str:
    """The fields of the form that an operation takes."""
    content = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if content is None:
        return ""
    schema = description["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{'needed' if name in required else _default(field)}</td>"
        f"<td>{escape(field.get('description', ''))}{_choices(field)}</td></tr>"
        for name, field in schema["properties"].items()
    )
    return f"<table><tr><th>field</th><th></th><th></th></tr>{rows}</table>"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return f"<code>{escape(str(default))}</code>" if default not in (None, []) else "optional"


def _choices(field: dict[str, Any]) -> str:
    return f" One of {', '.join(field['enum'])}." if "enum" in field else ""
