"""Serves the page of ``vos-annotate``."""

from __future__ import annotations

import socket
from pathlib import Path

import gradio as gr

from ..errors import InputError, parameter
from .gate import LARGEST_UPLOAD, middleware
from .markup import colours_css, picture_css
from .page import Page
from .project import Project

HERE = Path(__file__).parent
"""Folder of ``page.css`` and ``page.js``."""


def serve(project: Project, host: str = "127.0.0.1", port: int | None = None) -> tuple[Page, str]:
    """Serve the page of a project from background threads, until it is closed.

    The pictures that the browser fetches are in the folder that the environment variable ``GRADIO_TEMP_DIR`` names;
    no other file is served. Uploads lie there, too, until the project takes them over. The variable must be set before
    this module is imported.

    Args:
        project: the project that is shown.
        host: address to bind to.
        port: port to bind to; None: the first free one from 7860 on.

    Returns:
        The running page and its address.

    Raises:
        InputError: the port is taken, or the address cannot be bound to.
    """
    host = host.strip("[]")
    _check_address(host, port)
    page = Page(project)
    _, url, _ = page.blocks.launch(
        server_name=f"[{host}]" if ":" in host else host,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        allowed_paths=[],
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        app_kwargs={"middleware": middleware(host), "docs_url": None, "redoc_url": None},
        theme=gr.themes.Default(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=(HERE / "page.css").read_text(encoding="utf-8") + picture_css(*project.frames.size) + colours_css(),
        head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return page, url


def _check_address(host: str, port: int | None) -> None:
    """Try to bind to the address, as the framework would try for minutes.

    Raises:
        InputError: it cannot be bound to.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        where = parameter("host", host) if port is None else f"{parameter('host', host)} {parameter('port', port)}"
        raise InputError(f"{where}: cannot be served there ({error}); pass another one") from error
