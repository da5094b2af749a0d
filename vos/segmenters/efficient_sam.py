"""``efficient-sam:FILE``: EfficientSAM, tiny or small, from its published checkpoint and without its package.

The network is :mod:`vos.segmenters.efficient_sam_network`. All its sizes but the input's are read off the tensors.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError, parameter
from ..geometry import Geometry
from ..method.guidance import Guidance
from ..regions import Region
from ..structures import ImageEmbedding, Masks, Prompts
from ..weights.tensors import read_tensors
from .checkpoint import rename
from .efficient_sam_network import EfficientSamNetwork, EncoderSizes
from .sam import SamSegmenter
from .sam_parts import DecoderSizes

IMAGE_SIZE = 1024
"""Side of the square input of the published models, in pixels."""

HEAD_WIDTH = 64
"""Channels of each attention head of their image encoder."""

_RENAMES = (
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"^(mask_decoder\..*)\.norm(\d|_final_attn)\.", r"\1.layer_norm\2."),
    (r"^(mask_decoder\..*\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"^(mask_decoder\..*\.mlp)\.fc\.", r"\1.lin2."),
    (r"\.final_output_upscaling_layers\.0\.0\.", ".upscale_conv1."),
    (r"\.final_output_upscaling_layers\.0\.1\.", ".upscale_layer_norm."),
    (r"\.final_output_upscaling_layers\.1\.0\.", ".upscale_conv2."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.0\.0\.", r"\1.proj_in."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.layers\.1\.0\.", r"\1.layers.0."),
    (r"(iou_prediction_head|output_hypernetworks_mlps\.\d+)\.fc\.", r"\1.proj_out."),
)
"""Patterns of published names and what the network has in their place, applied in this order."""

_NORMALISATION = ("pixel_mean", "pixel_std")
"""What some copies of a checkpoint hold beside weights: ImageNet's mean and deviation, which every model here has."""


class EfficientSamSegmenter(SamSegmenter):
    """EfficientSAM. See :class:`~vos.interfaces.Segmenter`.

    Who asks for a single mask gets the best of the three by score, as its authors advise. Of the prompts it takes
    points inside and boxes, see :class:`~vos.segmenters.efficient_sam_network.PromptEncoder`.
    """

    @classmethod
    def load(
        cls, name: str, device: torch.device, dtype: torch.dtype, decoder_heads: int = 8, image_size: int = IMAGE_SIZE
    ) -> EfficientSamSegmenter:
        """Load ``efficient-sam:FILE``.

        Args:
            name: with a published checkpoint, ``efficient_sam_vitt.pt`` or ``efficient_sam_vits.pt``.
            device: the device to run on.
            dtype: the precision to run in.
            decoder_heads: attention heads of the mask decoder.
            image_size: side of the square input, in pixels.

        Raises:
            WeightsError: not found, or not a checkpoint of EfficientSAM.
        """
        path = Path(name.partition(":")[2])
        if not path.is_file():
            raise WeightsError(
                f"{path}: no such file; pass {parameter('model', 'efficient-sam:FILE')} with one of its checkpoints"
            )
        network = build(read_tensors(path), path, decoder_heads, image_size)
        return cls(network, name, device, dtype, (str(path),))

    def geometry(self, frame_size: tuple[int, int], region: Region | None = None) -> Geometry:
        return Geometry.stretched(frame_size, self.image_size, self.stride, region=region)

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        guidance: Guidance | None = None,
        multimask: bool = True,
    ) -> Masks:
        three = super().decode(embedding, prompts, guidance)
        if multimask:
            return three
        best = three.scores.argmax(dim=1, keepdim=True)
        rows = torch.arange(len(best), device=best.device)[:, None]
        return Masks(three.low_res_logits[rows, best], three.scores[rows, best])


def build(tensors: dict[str, Tensor], path: Path, decoder_heads: int, image_size: int) -> EfficientSamNetwork:
    """Make the network and fill it with tensors under their published names.

    Args:
        tensors: of a checkpoint.
        path: where they come from, for messages.
        decoder_heads: attention heads of the mask decoder.
        image_size: side of the square input, in pixels.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape.
    """
    try:
        encoder, decoder = _sizes(tensors, decoder_heads, image_size)
    except (KeyError, IndexError) as error:
        raise WeightsError(f"{path}: not a checkpoint of EfficientSAM: {error} is missing") from error
    network = EfficientSamNetwork(encoder, decoder)
    renamed = {rename(name, _RENAMES): tensor for name, tensor in tensors.items() if name not in _NORMALISATION}
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in renamed.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise WeightsError(f"{path}: does not fit EfficientSAM: {wrong[0]} and {len(wrong) - 1} more tensors differ")
    network.load_state_dict(renamed)
    return network


def _sizes(tensors: dict[str, Tensor], decoder_heads: int, image_size: int) -> tuple[EncoderSizes, DecoderSizes]:
    """Read the sizes off tensors under their published names.

    Raises:
        KeyError: a tensor is missing.
        IndexError: a tensor has too few dimensions.
    """
    patches = tensors["image_encoder.patch_embed.proj.weight"].shape
    channels = tensors["image_encoder.neck.0.weight"].shape[0]
    encoder = EncoderSizes(
        image_size=image_size,
        patch_size=patches[3],
        width=patches[0],
        depth=sum(bool(re.fullmatch(r"image_encoder\.blocks\.\d+\.norm1\.weight", name)) for name in tensors),
        heads=max(1, patches[0] // HEAD_WIDTH),
        mlp_dim=tensors["image_encoder.blocks.0.mlp.fc1.weight"].shape[0],
        positions=tensors["image_encoder.pos_embed"].shape[1],
        channels=channels,
    )
    decoder = DecoderSizes(
        hidden_size=channels,
        mlp_dim=tensors["mask_decoder.transformer.layers.0.mlp.layers.0.0.weight"].shape[0],
        num_attention_heads=decoder_heads,
        iou_head_hidden_dim=tensors["mask_decoder.iou_prediction_head.layers.0.0.weight"].shape[0],
    )
    return encoder, decoder
