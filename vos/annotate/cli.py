"""The command ``vos-annotate``: options and exit codes, no logic."""

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

from ..command.options import add_model_options
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    return exit_status("vos-annotate", lambda: run(options), options.traceback, "what was not downloaded is gone")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(
        prog="vos-annotate",
        description="Mark, follow and correct the objects of a video on a local web page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    line.add_argument("video", metavar="VIDEO", help="a video file, or a folder of numbered images")
    line.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default: %(default)s, this machine alone)"
    )
    line.add_argument("--port", type=int, help="port to serve on (default: the first free one from 7860 on)")
    add_model_options(line)
    line.add_argument("--traceback", action="store_true", help="show where an error came from")
    line.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return line


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        VosError: one clear line for the user.
    """
    if find_spec("gradio") is None:
        raise InputError(
            "the page needs the package gradio; run: pip install 'vos-track[annotate]', or: pip install gradio"
        )
    from ..engine.device import keep_freed_memory
    from .project import Project

    keep_freed_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = ("tracker", "model", "prior", "device")
    with tempfile.TemporaryDirectory(prefix="vos-annotate-") as folder:
        with Project(options.video, Path(folder), **{name: getattr(options, name) for name in names}) as project:
            project.load_models()
            for name in ("no_proxy", "NO_PROXY"):  # the server asks itself whether it is up
                os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost,::1")))
            os.environ |= {"GRADIO_TEMP_DIR": f"{folder}/page", "GRADIO_ANALYTICS_ENABLED": "False"}
            from .page import serve

            blocks, url = serve(project, options.host, options.port)
            try:
                print(f"{url}  (Ctrl-C ends it)", flush=True)
                threading.Event().wait()
            finally:
                blocks.close(verbose=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
