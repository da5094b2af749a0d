"""Middleware of the page: passes the requests that the page needs and refuses all else that the framework offers."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 1024
"""Largest body of a request, bytes; the page sends clicks and names, there are no uploads."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that no other machine can use."""

_NEEDED = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json)/?|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info|startup-events|queue/join|queue/data|cancel|reset|heartbeat/\w+|app_id)/?|/gradio_api/file=/.*"
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
    """Refuses paths that the page does not need and large requests; adds headers that keep the browser to this server.

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
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= LARGEST_BODY else {"type": "http.disconnect"}

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
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return 413, f"more than {LARGEST_BODY} bytes"
        return None
