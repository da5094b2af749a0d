"""Cutie as a tracker, through the package ``rf-cutie``, which is imported only when this tracker is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import PluginError, WeightsError, parameter
from ..geometry import Geometry
from ..interfaces import FrameContext
from ..structures import FirstMask, Result, Tracked
from ..weights.model_cache import ModelCache
from ..weights.tensors import read_tensors

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHORT_SIDE = 480
"""Pixels of the short side to which larger frames are shrunk, as in Cutie's own evaluation."""

SMALLEST_SIDE = 96
"""Pixels of the short side to which smaller frames are enlarged; Cutie's memory needs more cells than it reads, 30."""

FEATURES_OF_BASE = 1024
"""Channels of the image encoder of Cutie-base; Cutie-small has 256."""


@dataclass(frozen=True)
class CutieOptions:
    """Options of Cutie.

    Attributes:
        weights: the published checkpoint, ``cutie-base-mega.pth`` or ``cutie-small-mega.pth``. ``cutie:FILE`` as the
            name of the tracker sets it.
    """

    weights: str | None = None


class Cutie:
    """Cutie with its long-term memory, for videos of any length. See :class:`~vos.interfaces.Tracker`.

    All objects are one batch and contest each pixel by their probabilities. A score is the mean probability inside the
    object's mask. A corrected frame stays in the memory for good.

    Attributes:
        files: weight files in use, after ``start``.
        models: keeps the network, see :class:`~vos.weights.model_cache.Borrowing`.
    """

    Options = CutieOptions

    def __init__(self, options: CutieOptions | None = None):
        self.options = options or self.Options()
        self.files: tuple[str, ...] = ()
        self.models = ModelCache()
        self._network: nn.Module | None = None

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        if self._network is None:
            weights = self.options.weights
            key = ("tracker", "cutie", weights, context.device)
            self._network = self.models.get(key, lambda: load_network(weights).to(context.device))
            self.files = (weights,) if weights else ()
        from cutie.inference.inference_core import InferenceCore

        self._geometry = Geometry.short_side(context.frame.size, SHORT_SIDE, SMALLEST_SIDE)
        self._core = InferenceCore(self._network, self._network.cfg)
        self._masks = first_mask  # of the last frame, in the order of the rows
        self._numbers = list(range(1, len(first_mask.object_ids) + 1))  # by which Cutie knows them; none is used twice
        self._memorise(context)

    def step(self, context: FrameContext) -> Tracked:
        odds = self._run(context)
        logits = odds[1:] - odds[:1]  # largest and positive where Cutie's own answer is this object
        winner, probabilities = odds.argmax(dim=0), odds.exp()
        inside = winner == torch.arange(1, len(odds), device=odds.device)[:, None, None]
        scores = (probabilities[1:] * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)
        return Tracked(logits, scores.clamp(0, 1), self._geometry)

    def observe(self, context: FrameContext, result: Result) -> None:
        """Keep the masks, in case one of them is corrected or another joins."""
        self._masks = FirstMask(result.labels, result.object_ids)

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        self._numbers += [max(self._numbers) + 1 + each for each in range(len(first_mask.object_ids))]
        self._masks = replace(self._masks, object_ids=self._masks.object_ids + first_mask.object_ids)
        self._paint(first_mask)
        self._memorise(context)

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        self._paint(first_mask)
        self._memorise(context, for_good=True)

    def remove(self, rows: list[int]) -> None:
        gone = [self._numbers[row] for row in rows]
        kept = [row for row in range(len(self._numbers)) if row not in rows]
        memory = self._core.memory
        for bucket, numbers in memory.work_mem.buckets.items():
            if set(numbers) <= set(gone):  # the package deletes these even if it never made them
                for made_later in (memory.work_mem.e, memory.work_mem.use_cnt, memory.work_mem.life_cnt):
                    made_later.setdefault(bucket, None)
        self._core.delete_objects(gone)
        self._core.last_mask = self._core.last_mask[:, kept]  # which the package does not shorten
        for number in gone:
            memory.obj_v.pop(number, None)
        self._numbers = [self._numbers[row] for row in kept]
        self._masks = replace(self._masks, object_ids=tuple(self._masks.object_ids[row] for row in kept))

    def _paint(self, true: FirstMask) -> None:
        """Paint true masks over the masks of the last frame."""
        labels = self._masks.labels
        others = np.where(np.isin(labels, true.object_ids), 0, labels)
        self._masks = replace(self._masks, labels=np.where(true.labels > 0, true.labels, others))

    def _memorise(self, context: FrameContext, for_good: bool = False) -> None:
        """Put a frame with all objects' masks into the memory."""
        masks = torch.tensor(self._masks.masks(), device=context.device)
        labels = torch.zeros(self._geometry.input_size, dtype=torch.long, device=context.device)
        for number, mask in zip(self._numbers, self._geometry.input_masks(masks), strict=True):
            labels[mask] = number
        self._run(context, labels, list(self._numbers), force_permanent=for_good)

    def _run(self, context: FrameContext, *masks: object, **how: bool) -> Tensor:
        """Run Cutie on a frame; return log-probabilities of background and objects, (1 + N, h, w) float."""
        image = torch.tensor(self._geometry.resize(context.frame.rgb), device=context.device)
        image = image.permute(2, 0, 1).float() / 255
        half = torch.autocast(context.device.type, context.dtype, enabled=context.dtype != torch.float32)
        with half, warnings.catch_warnings(action="ignore", category=FutureWarning):
            return self._core.step(image, *masks, **how).float().clamp_min(1e-12).log()


def load_network(weights: str | None) -> nn.Module:
    """Load Cutie's published weights, with the configuration of its evaluation.

    Raises:
        PluginError: the package is not installed.
        WeightsError: no file is named, or it holds something else.
    """
    try:
        from cutie.model.cutie import CUTIE
    except ImportError as error:
        raise PluginError(
            f"{parameter('tracker', 'cutie:FILE')} needs rf-cutie: pip install 'vos-track[cutie]' ({error})"
        ) from error
    if weights is None:
        raise WeightsError(
            f"{parameter('tracker', 'cutie:FILE')}: name Cutie's weights after the colon, such as cutie-base-mega.pth "
            "from the releases of github.com/hkchengrex/Cutie"
        )
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; pass {parameter('tracker', 'cutie:FILE')} with a checkpoint of Cutie"
        )
    tensors = read_tensors(path)
    try:
        size = "base" if tensors["pix_feat_proj.weight"].shape[1] == FEATURES_OF_BASE else "small"
        with without_downloads():
            network = CUTIE(configuration(size))
        missing = network.load_state_dict(tensors, strict=False).missing_keys
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: not the weights of Cutie: {' '.join(str(error).split())[:200]}") from error
    unread = ("aux_computer.", ".num_batches_tracked")  # only training needs them
    missing = [name for name in missing if not any(part in name for part in unread)]
    if missing:
        raise WeightsError(f"{path}: not the weights of Cutie: {missing[0]} and {len(missing) - 1} more are missing")
    return network.eval().requires_grad_(False)


def configuration(size: str) -> DictConfig:
    """Compose the package's own configuration for videos of any kind, without Hydra.

    Args:
        size: ``base`` or ``small``.
    """
    from omegaconf import DictConfig, OmegaConf

    folder = resources.files("cutie") / "config"
    names = ("eval_config", "model/base", "model/small")
    evaluation, base, small = (OmegaConf.create((folder / f"{name}.yaml").read_text()) for name in names)
    assert isinstance(evaluation, DictConfig)
    evaluation.model = OmegaConf.merge(base, small) if size == "small" else base
    generic = evaluation.datasets.generic
    evaluation.use_long_term, evaluation.mem_every = generic.use_long_term, generic.mem_every
    return evaluation


@contextmanager
def without_downloads() -> Iterator[None]:
    """Keep the package from fetching ImageNet's weights for its networks, as the checkpoint replaces them."""
    from cutie.model.utils import resnet

    own = resnet.model_zoo, resnet.load_weights_add_extra_dim
    resnet.model_zoo = SimpleNamespace(load_url=lambda *_, **__: None)
    resnet.load_weights_add_extra_dim = lambda *_: None
    try:
        yield
    finally:
        resnet.model_zoo, resnet.load_weights_add_extra_dim = own
