"""Finds and loads weights: the package's own, those of local files and folders, and those of the hub.

Local files win. The hub is asked only for names that are not there, and ``HF_HUB_OFFLINE`` is honoured. Segmenters,
prior encoders and trackers load their models with :func:`pretrained`; :mod:`vos.weights.tensors` reads single files.
"""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from safetensors import SafetensorError

from ..errors import WeightsError, parameter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Model = TypeVar("Model", bound="PreTrainedModel")
"""Class of a model of ``transformers``."""

LITE = Path(__file__).parent / "lite.safetensors"
"""The bundled weights of ``lite``."""


def pretrained(model: type[Model], source: str, name: str, value: str = "FOLDER", instead: str = "") -> Model:
    """Load a ``transformers`` model from a local folder or, by hub name, from the local cache or the hub.

    Only safetensors are read: a pickled checkpoint is refused.

    Args:
        model: the class to load.
        source: a folder, or a hub name such as ``facebook/sam-vit-base``.
        name: the parameter that ``source`` was given with, for messages, such as ``model``.
        value: what to pass for it, for messages.
        instead: what else it takes, for messages.

    Raises:
        WeightsError: not there, unreadable, or not weights of this class.
    """
    from transformers.utils import logging as transformers_logging  # takes longer than torch: not for `lite`

    folder = Path(source)
    remedy = f"pass {parameter(name, value)} with a folder"
    if folder.exists() and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: holds no config.json; {remedy} written by save_pretrained")
    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # else a table of what does not fit comes before our line
    try:
        loaded, report = _load(model, source, local_files_only=folder.exists() or not hub_has_an_address())
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        where = "in that folder" if folder.exists() else "as a folder, in the local hub cache, and on the hub"
        raise WeightsError(
            f"{source}: no usable weights found {where}; {remedy} that holds config.json and model.safetensors"
            f"{instead and ', ' + instead}"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(report["missing_keys"])
    if missing:
        raise WeightsError(
            f"{source}: not weights of {model.__name__}: {missing[0]} and {len(missing) - 1} more are missing"
        )
    return loaded


def _load(model: type[Model], source: str, local_files_only: bool) -> tuple[Model, dict[str, Any]]:
    """Load a model; return it with the library's report of tensors that are missing or left over."""
    loaded: Any = model.from_pretrained(
        source, use_safetensors=True, output_loading_info=True, local_files_only=local_files_only
    )  # a pair when the report is asked for, which the library does not annotate
    return loaded


def hub_has_an_address() -> bool:
    """Tell whether the hub's name resolves; without a network each download would be tried for half a minute."""
    if getproxies():
        return True
    from huggingface_hub import HfApi

    try:
        socket.getaddrinfo(urlsplit(HfApi().endpoint).hostname, 443)
    except OSError:
        return False
    return True


def model_files(source: str) -> tuple[str, ...]:
    """List the weight files that :func:`pretrained` used for ``source``, for the record of a run."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source)
    if folder.is_dir():
        return tuple(str(path) for path in sorted(folder.glob("*.safetensors")))
    names = ("model.safetensors", "model.safetensors.index.json")
    found = (try_to_load_from_cache(source, name) for name in names)
    return tuple(path for path in found if isinstance(path, str))


def sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
