"""Reads what kind of model a folder or a name on the hub holds, without loading its weights."""

from __future__ import annotations

from pathlib import Path

from ..errors import WeightsError, parameter
from . import hub_has_an_address


def model_type_of(source: str, name: str, instead: str = "") -> str:
    """Return the type of a model as its configuration names it, such as ``dinov2``; ``""`` if it names none.

    Args:
        source: a folder, or a name on the hub.
        name: the parameter that ``source`` was given with, for messages, such as ``prior``.
        instead: what else it takes, for messages.

    Raises:
        WeightsError: there is no configuration.
    """
    from transformers import PretrainedConfig

    folder = Path(source)
    remedy = f"pass {parameter(name, 'FOLDER')} with a folder written by save_pretrained{instead and ', ' + instead}"
    if folder.exists() and not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: holds no config.json; {remedy}")
    local = folder.exists() or not hub_has_an_address()
    try:
        found, _ = PretrainedConfig.get_config_dict(source, local_files_only=local)
    except (OSError, ValueError) as error:
        where = "in that folder" if folder.exists() else "as a folder, in the local hub cache, and on the hub"
        raise WeightsError(f"{source}: no usable weights found {where}; {remedy}") from error
    return str(found.get("model_type", ""))
