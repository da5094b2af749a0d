"""Lets through what the page needs, and nothing else that the web framework offers."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 1024
"""Bytes of a request: the page sends clicks and names, there are no uploads."""

_NEEDED = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json)/?|/(assets|static|svelte)/.*"
    r"|/gradio_api/(info|startup-events|queue/join|queue/data|cancel|reset|heartbeat/\w+|app_id)/?|/gradio_api/file=/.*"
)
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


class Gate:
    """Middleware: refuses other hosts' names, other paths and large requests; keeps the browser to this server.

    Args:
        app: what is behind it.
        hosts: names under which the server may be asked, against sites that point their own name at it; None: any.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send)
            return
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= LARGEST_BODY else {"type": "http.disconnect"}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._app(scope, bounded, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and text, or None for what may pass."""
        if scope["type"] != "http":
            return 404, "not found"
        headers = Headers(scope=scope)
        host = re.sub(r":\d+$", "", headers.get("host", "")).lower()
        if self._hosts is not None and host not in self._hosts:
            return 403, "unknown host name"
        if not _NEEDED.fullmatch(unquote(scope["path"])):
            return 404, "not found"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return 413, f"more than {LARGEST_BODY} bytes"
        return None
