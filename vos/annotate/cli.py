"""The entry point of ``vos-annotate``: from arguments to an exit status."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..command.option_groups import add_model_options
from ..command.status import exit_status
from ..errors import InputError
from ..version import __version__

EPILOG = """examples:
  vos-annotate dog.mp4
      a page on which objects are marked, followed, corrected and downloaded
  vos-annotate dog.mp4 --model sam-vit-h --prior dinov2-large --port 8000

The page is for this machine alone unless --host says otherwise; it has no password.
Ctrl-C ends it; masks that were not downloaded are gone then.
"""
"""End of the text of ``--help``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status.

    Args:
        arguments: of the command line; None takes them from ``sys.argv``.
    """
    options = build_parser().parse_args(arguments)
    return exit_status("vos-annotate", lambda: run(options), options.traceback, "what was not downloaded is gone")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="vos-annotate",
        description="Mark, follow and correct the objects of a video on a local web page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", metavar="VIDEO", help="a video file, or a folder of numbered images")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default: %(default)s, this machine alone)"
    )
    parser.add_argument("--port", type=int, help="port to serve on (default: the first free one from 7860 on)")
    add_model_options(parser)
    parser.add_argument(
        "--text-model",
        metavar="NAME",
        help="detector for objects named in words: hub name or folder of Grounding DINO "
        "(default: IDEA-Research/grounding-dino-tiny)",
    )
    parser.add_argument(
        "--text-threshold", metavar="T", type=float, help="least score of an object named in words (default: 0.35)"
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        VosError: the video, a model or the address cannot be used.
    """
    if find_spec("gradio") is None:
        raise InputError(
            "the page needs the package gradio; run: pip install 'vos-track[annotate]', or: pip install gradio"
        )
    from ..engine.device import keep_freed_memory
    from .project import Project

    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = ("tracker", "model", "prior", "device", "text_model", "text_threshold")
    chosen = {name: getattr(options, name) for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="vos-annotate-") as folder,
        Project(options.video, Path(folder), **chosen) as project,
    ):
        project.load_models()
        for name in ("no_proxy", "NO_PROXY"):  # for the server's own request, by which it checks that it is up
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost,::1")))
        os.environ |= {"GRADIO_TEMP_DIR": f"{folder}/page", "GRADIO_ANALYTICS_ENABLED": "False"}
        from .server import serve  # reads these variables

        page, url = serve(project, options.host, options.port)
        try:
            print(f"{url}  (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
        finally:
            page.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
