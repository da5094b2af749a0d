"""``lite`` and ``lite-large``: the bundled model as a segmenter; its network is :mod:`vos.segmenters.lite_network`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import WeightsError
from ..geometry import PIXEL_MEAN, PIXEL_STD, Geometry
from ..method.guidance import Guidance
from ..private_api import can_fuse_relu6, convolution_relu6, fast_dtype
from ..regions import Region
from ..structures import ImageEmbedding, Masks, Prompts
from ..weights import LITE
from ..windows import cut
from .lite_network import STRIDE, TAPS, Backbone, Block, LiteConfig, LiteNetwork

PAD_TO = 32
"""The sides of the network's input are multiples of so many pixels: the stride of its coarsest features."""


class LiteSegmenter:
    """The bundled network. See :class:`~vos.interfaces.Segmenter`.

    Tensors of the image's size have the precision of :func:`~vos.private_api.fast_dtype`; tokens are float32.
    """

    kind = "lite"
    image_size: int | None = None
    """Long side of the input in pixels; None: that of the training."""

    light = True
    any_shape = True
    wants_prior_maps = True
    wants_last_mask = True

    def __init__(self, network: LiteNetwork, device: torch.device, dtype: torch.dtype, files: tuple[str, ...] = ()):
        self.network = network.eval().requires_grad_(False)
        self.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's gap
        self.name = self.kind
        self.device = device
        self.dtype = dtype
        self.files = files
        self.fast_dtype = fast_dtype(device)
        for part in (network.backbone, network.pyramid, network.prior_embedding):
            part.to(self.fast_dtype)
        network.mask_decoder.image_dtype = self.fast_dtype
        if device.type == "cpu":
            fuse_activations(self.network.backbone)
        self._backbone = _InOneLine(self.network.backbone)
        self._positions = lru_cache(maxsize=4)(lambda *grid: network.positions(*grid).to(self.fast_dtype))
        self._scale = 1 / torch.tensor(PIXEL_STD, device=device)
        self._shift = -torch.tensor(PIXEL_MEAN, device=device) / torch.tensor(PIXEL_STD, device=device)

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> LiteSegmenter:
        """Load the bundled weights, or those of ``lite:FILE``, as ``tools/train_lite.py`` writes them.

        Raises:
            WeightsError: the file is missing or damaged.
        """
        own = name.partition(":")[2]
        path = Path(own) if own else LITE
        try:
            with safe_open(path, "pt") as file:
                config = LiteConfig(**json.loads(file.metadata()["config"]))
                network = LiteNetwork(replace(config, image_size=cls.image_size or config.image_size))
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            network.load_state_dict(tensors)
        except Exception as error:
            remedy = "pass a file that tools/train_lite.py wrote" if own else "install vos-track anew"
            raise WeightsError(f"{path}: the weights of lite are missing or damaged; {remedy}") from error
        return cls(network, device, dtype, (str(path),))

    def geometry(self, frame_size: tuple[int, int], region: Region | None = None) -> Geometry:
        return Geometry.longest_side(frame_size, self.network.config.image_size, STRIDE, region=region, pad_to=PAD_TO)

    def embed(self, rgb: np.ndarray, region: Region | None = None) -> ImageEmbedding:
        geometry = self.geometry(rgb.shape[:2], region)
        image = geometry.resize_quickly(rgb).to(self.device)
        image = torch.addcmul(self._shift, image.float(), self._scale).to(self.fast_dtype)
        pixels = geometry.pad(image.permute(2, 0, 1))[None].contiguous(memory_format=torch.channels_last)
        features = self._backbone(pixels)
        embedding, fine = self.network.merge(features)
        return ImageEmbedding(embedding.float(), geometry, fine, coarse=features[-1].float())

    def match_features(self, embedding: ImageEmbedding) -> Tensor:
        return self.network.match(embedding.values)

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        geometry = embedding.geometry
        at_stride4, at_stride2 = embedding.fine
        logits, scores = self.network.decode(
            embedding.values,
            (at_stride4, at_stride2),
            cut(self._positions(*geometry.grid), embedding.windows),
            geometry.to_input(prompts.points),
            prompts.point_labels,
            None if prompts.boxes is None else geometry.boxes_to_input(prompts.boxes),
            prompts.mask_logits,
            prompts.prior_maps,
            guidance,
            multimask,
        )
        return Masks(logits, scores)


class LargeLiteSegmenter(LiteSegmenter):
    """The same network and weights with a larger input, for those who can wait: half as many pixels more."""

    kind = "lite-large"
    image_size = 640


class _ConvolutionReLU6(nn.Module):
    """A convolution and its ReLU6 in one pass where possible, see :func:`~vos.private_api.convolution_relu6`."""

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.convolution = convolution
        self._fused = can_fuse_relu6(convolution.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return convolution_relu6(self.convolution, x) if self._fused else F.relu6(self.convolution(x))


def fuse_activations(module: nn.Module) -> None:
    """Replace every convolution and the ReLU6 that follows it by one layer, in place; for a CPU."""
    for layers in [child for child in module.modules() if isinstance(child, nn.Sequential)]:
        for index in range(len(layers) - 1):
            convolution = layers[index]
            if isinstance(convolution, nn.Conv2d) and isinstance(layers[index + 1], nn.ReLU6):
                layers[index] = _ConvolutionReLU6(convolution)
                layers[index + 1] = nn.Identity()


class _InOneLine:
    """The backbone's layers one after the other, without the modules around them, for inference.

    Between two layers Python holds its lock, so that the thread that follows the objects waits: the less is done
    there, the more the two threads do at once.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._stem = _forwards(backbone.stem)
        self._blocks: list[tuple[list[Callable[[Tensor], Tensor]], bool, bool]] = []
        for index, stage in enumerate(backbone.stages):
            assert isinstance(stage, nn.Sequential)
            for place, block in enumerate(stage, start=1):
                assert isinstance(block, Block)
                tapped = index in TAPS and place == len(stage)
                self._blocks.append((_forwards(block.layers), block.residual, tapped))

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Give what :meth:`.Backbone.forward` gives."""
        x, features = pixels, []
        for layer in self._stem:
            x = layer(x)
        for layers, residual, tapped in self._blocks:
            before = x
            for layer in layers:
                x = layer(x)
            if residual:
                x += before
            if tapped:
                features.append(x)
        return features


def _forwards(layers: nn.Sequential) -> list[Callable[[Tensor], Tensor]]:
    """List what the layers of a sequence compute, without those that do nothing."""
    return [layer.forward for layer in layers if not isinstance(layer, nn.Identity)]
