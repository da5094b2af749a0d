"""Parses the names of streams: the number of a camera, a network address, or ``-`` for standard input.

:mod:`.open` asks it whether a name is a stream or a file; the command takes names without passwords from it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ..errors import InputError, parameter

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "http", "https")
"""Schemes that make a network address; anything else with a colon in it is the name of a file."""

_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's input format for cameras, by ``sys.platform``."""


@dataclass(frozen=True)
class Address:
    """A stream that FFmpeg can open; each connection can be read only once.

    Attributes:
        name: for messages and records, without a password.
        stem: name for a result folder.
        url: as FFmpeg opens it.
        format: FFmpeg's input format; None to detect it.
        options: FFmpeg's options.
        lasting: whether it may come back after a break.
        waits: whether opening waits, without a limit, until a sender connects.
    """

    name: str
    stem: str
    url: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    lasting: bool = True
    waits: bool = False


def parse_address(video: str | Path, raw: str | None = None) -> Address | None:
    """Parse the name of a stream; None if it names a file or folder.

    A number names a file or folder if there is one of that name, else a camera.

    Args:
        video: ``-``, the number of a camera, an address, or a path.
        raw: ``WxH`` or ``WxH@FPS`` if standard input is bare rgb24 pixels.

    Raises:
        InputError: ``raw`` is malformed, or given for anything but standard input.
    """
    text = str(video)
    if text == "-":
        return _standard_input(raw)
    if raw is not None:
        raise InputError(f"{parameter('raw', raw)}: only for standard input, which is `-` in place of a video")
    scheme = urlsplit(text).scheme.lower() if "://" in text else ""
    if scheme in SCHEMES:
        return _network(text, scheme)
    camera = re.fullmatch(r"(?:/dev/video)?(\d{1,3})", text)
    if camera and (text.startswith("/dev/") or not Path(text).exists()):
        return _camera(int(camera[1]))
    return None


def without_password(text: str) -> str:
    """Hide the user name and password of an address; other names are returned as they are."""
    parts = urlsplit(text) if "://" in text else None
    if parts is None or "@" not in parts.netloc:
        return text
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _standard_input(raw: str | None) -> Address:
    if raw is None:
        return Address("standard input", "stdin", "pipe:0", lasting=False)
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})(?:@(\d+(?:\.\d+)?|\d+/\d+))?", raw)
    if not match:
        raise InputError(f"{parameter('raw', raw)}: give WIDTHxHEIGHT or WIDTHxHEIGHT@FPS, such as 640x480@30")
    options = {"video_size": f"{match[1]}x{match[2]}", "pixel_format": "rgb24", "framerate": match[3] or "25"}
    return Address("standard input", "stdin", "pipe:0", "rawvideo", options, lasting=False)


def _network(text: str, scheme: str) -> Address:
    parts = urlsplit(text)
    last = parts.path.rstrip("/").rpartition("/")[2].rpartition(".")[0] or parts.path.strip("/").rpartition("/")[2]
    stem = re.sub(r"[^\w-]+", "_", last or parts.hostname or scheme).strip("_") or scheme
    options = {"rtsp_flags": "prefer_tcp"} if scheme in ("rtsp", "rtsps") else {}
    return Address(without_password(text), stem, text, options=options, waits="listen" in parts.query)


def _camera(index: int) -> Address:
    kind = _CAMERA_FORMATS.get(sys.platform, "v4l2")
    url = {"v4l2": f"/dev/video{index}", "avfoundation": str(index)}.get(kind) or _dshow_name(index)
    return Address(f"camera {index}", f"camera{index}", url, kind)


def _dshow_name(index: int) -> str:
    """Look up the name of a camera, as Windows opens cameras by name only."""
    from av.device import enumerate_input_devices

    cameras = [device for device in enumerate_input_devices("dshow") if "video" in device.media_types]
    if index >= len(cameras):
        raise InputError(f"camera {index}: there are {len(cameras)} cameras, counted from 0")
    return f"video={cameras[index].name}"
