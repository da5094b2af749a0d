"""Middleware of the page: passes the requests that the page needs and refuses all else that the framework offers."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 1024
"""Largest body of a request, bytes; the page sends clicks and names."""

LARGEST_UPLOAD = 32 * 1024 * 1024
"""Largest body of an upload, a photograph or its mask, bytes."""

UPLOAD = "/gradio_api/upload"
"""Path that takes uploads."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that no other machine can use."""

_NEEDED = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json)/?|/(assets|static|svelte)/.*"
    rf"|{UPLOAD}|/gradio_api/(info|startup-events|queue/join|queue/data|cancel|reset|heartbeat/\w+|app_id)/?|/gradio_api/file=/.*"
)
"""Paths that the page asks for."""

_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""Content security policy: the browser loads nothing from other servers."""


def middleware(host: str) -> list[Middleware]:
    """Return the middleware for a page that is served on an address, the outermost first.

    Served on this machine's own address, the page answers under its own names only (status 400 under others), so that
    no web site can reach it by pointing a name at that address. Served elsewhere, it answers under any name.
    """
    gate = Middleware(Gate)
    if host not in LOOPBACK:
        return [gate]
    names = [f"[{name}]" if ":" in name else name for name in LOOPBACK]
    return [Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False), gate]


class Gate:
    """Refuses paths that the page does not need, large requests, and uploads that other web sites send.

    It adds headers that keep the browser to this server.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send)
            return
        received, limit = 0, _limit(scope)

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= limit else {"type": "http.disconnect"}

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive_bounded, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and text of a refusal, or None for a request that may pass."""
        if scope["type"] != "http":
            return 404, "not found"
        if not _NEEDED.fullmatch(unquote(scope["path"])):
            return 404, "not found"
        headers, limit = Headers(scope=scope), _limit(scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            return 413, f"more than {limit} bytes"
        # Unlike all else that the page sends, a browser would let a form of any web site send an upload.
        if scope["path"] == UPLOAD and urlsplit(headers.get("origin", "")).netloc != headers.get("host"):
            return 403, "uploads are taken from the page itself only"
        return None


def _limit(scope: Scope) -> int:
    """Return the largest body of a request, bytes."""
    return LARGEST_UPLOAD if scope["path"] == UPLOAD else LARGEST_BODY
