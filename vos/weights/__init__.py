"""Where weights come from: the package itself, local files and folders, or the hub.

Local files win; the hub is asked only for names that are not there, and ``HF_HUB_OFFLINE`` is
honoured.
"""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from ..errors import WeightsError

Model = TypeVar("Model", bound=PreTrainedModel)

LITE = Path(__file__).parent / "lite.safetensors"


def pretrained(model: type[Model], source: str, option: str, instead: str = "") -> Model:
    """Load a ``transformers`` model from a local folder or, by hub name, its cache or the hub.

    Only safetensors are read: a pickled checkpoint is refused.

    Args:
        model: the class to load.
        source: a folder, or a hub name such as ``facebook/sam-vit-base``.
        option: the command-line option it came from, for the message.
        instead: what else the option takes, for the message.

    Raises:
        WeightsError: not there, unreadable, or not weights of this class.
    """
    folder = Path(source)
    if folder.exists() and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: holds no config.json; pass {option} a folder written by save_pretrained")
    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # else a table of what does not fit comes before our line
    try:
        loaded, report = model.from_pretrained(
            source,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=folder.exists() or not _hub_has_an_address(),
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        where = "in that folder" if folder.exists() else "as a folder, in the local hub cache, and on the hub"
        raise WeightsError(
            f"{source}: no usable weights found {where}; pass {option} a folder with config.json and "
            f"model.safetensors{instead}"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(
            f"{source}: not weights of {model.__name__}: {missing[0]} and {len(missing) - 1} more are missing"
        )
    return loaded


def _hub_has_an_address() -> bool:
    """Whether the hub's name resolves: without a network each download is tried for half a minute."""
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(huggingface_hub.constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def model_files(source: str) -> tuple[str, ...]:
    """Weight files that ``pretrained`` used for ``source``, for the record of a run."""
    folder = Path(source)
    if folder.is_dir():
        return tuple(str(path) for path in sorted(folder.glob("*.safetensors")))
    found = (
        cached_file(source, name, _raise_exceptions_for_missing_entries=False, local_files_only=True)
        for name in ("model.safetensors", "model.safetensors.index.json")
    )
    return tuple(str(path) for path in found if path)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
