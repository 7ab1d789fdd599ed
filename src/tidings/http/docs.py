"""`/openapi.json` and `/docs`: the API reference, served whole from this process (Swagger UI comes as a dependency)."""

import html
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import resources
from typing import Any, Final

from litestar import Response, Router
from litestar.params import FromPath

from tidings.domain.errors import NotFound
from tidings.http.metrics import Meter
from tidings.http.openapi import document
from tidings.http.pages import FixedPage
from tidings.http.problem import CODES, json_bytes
from tidings.http.route import Call, route

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PAGE: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tidings API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css"></head>
<body><div id="reference"></div><noscript>This page needs JavaScript; the document itself is at /openapi.json.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script><script src="/docs/assets/start.js"></script></body></html>
"""
_START: Final = b"""SwaggerUIBundle({url: "/openapi.json", dom_id: "#reference", deepLinking: true,
  persistAuthorization: false, displayRequestDuration: true, defaultModelsExpandDepth: 0, validatorUrl: null});
"""
_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon-32x32.png": "image/png",
}  # fmt: skip


def _page(body: bytes, media: str = "text/html", *, cache: str = "no-cache") -> Response[bytes]:
    return Response(body, media_type=media, headers={"Content-Security-Policy": _CSP, "Cache-Control": cache})


@lru_cache(maxsize=8)
def _asset(name: str) -> bytes:
    return resources.files("openapi_ui_bundles.swagger_ui").joinpath("vendor", name).read_bytes()


@route("GET", "/docs", scope=None, summary="The API reference", answers={200: str}, media="text/html")
async def reference(request: Call) -> Response[bytes]:
    """A page that needs no other host."""
    return _page(_PAGE)


@route(
    "GET",
    "/docs/assets/{name:str}",
    scope=None,
    summary="Parts of the reference",
    answers={200: str},
    media="text/html",
)
async def asset(request: Call, name: FromPath[str]) -> Response[bytes]:
    """Scripts and styles of the reference."""
    if name == "start.js":
        return _page(_START, "text/javascript")
    if name not in _ASSETS:
        raise NotFound("there is no such file")
    return _page(_asset(name), _ASSETS[name], cache="public, max-age=86400")


@route("GET", "/docs/errors", scope=None, summary="Error codes", answers={200: str}, media="text/html")
async def errors(request: Call) -> Response[bytes]:
    """What every `code` of a problem means; `doc_url` points here."""
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{status}</td><td>{html.escape(text)}</td></tr>'
        for code, (status, _, text) in CODES.items()
    )
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tidings: error codes</title></head><body>'
    table = (
        f"<h1>Error codes</h1><table><tr><th>code</th><th>status</th><th>meaning</th></tr>{rows}</table></body></html>"
    )
    return _page((head + table).encode())


@route("GET", "/openapi.json", scope=None, summary="This document", answers={200: dict[str, Any]})
async def openapi_json(request: Call) -> Response[bytes]:
    """Built once from the routes' declarations."""
    state = request.app.state
    if state.openapi is None:
        state.openapi = json_bytes(document(request.app))
    return Response(state.openapi, media_type="application/json", headers={"Cache-Control": "no-cache"})


def fixed(meter: Meter, openapi: Callable[[], bytes | None]) -> dict[bytes, FixedPage]:
    """The pages of the reference by their URL. `openapi`: the document, as soon as it is built."""
    csp, day = _CSP.encode(), b"public, max-age=86400"
    pages = {b"/openapi.json": FixedPage(meter, "/openapi.json", b"application/json", b"no-cache", None, openapi)}
    pages[b"/docs"] = FixedPage(meter, "/docs", b"text/html; charset=utf-8", b"no-cache", csp, lambda: _PAGE)
    for name, media in _ASSETS.items():
        kind = media if media.startswith("image/") else f"{media}; charset=utf-8"
        url = f"/docs/assets/{name}".encode()
        pages[url] = FixedPage(meter, "/docs/assets/{name}", kind.encode(), day, csp, partial(_asset, name))
    return pages


router = Router("/", route_handlers=[reference, asset, errors, openapi_json])
