"""The mask decoder against ``transformers``' own, and where its up-sampling puts things."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from transformers.models.sam.configuration_sam import (
    SamConfig,
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from vos.errors import WeightsError
from vos.segmenters.checkpoint import decoder_sizes
from vos.segmenters.lite_network import FineMaskDecoder
from vos.segmenters.mask_decoder import GuidedMaskDecoder, depth_to_space, space_to_depth
from vos.segmenters.sam_parts import DecoderSizes, PromptEncoder

GRID = (5, 7)

SIZES = DecoderSizes(hidden_size=32, mlp_dim=64, iou_head_hidden_dim=32)


def drawn_weights(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.eval().requires_grad_(False).parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def random_decoder(kind: type[GuidedMaskDecoder]) -> GuidedMaskDecoder:
    decoder = kind(SIZES)
    drawn_weights(decoder)
    return decoder


def librarys_own(decoder: GuidedMaskDecoder) -> SamMaskDecoder:
    """``transformers``' decoder with the same weights; the library's names, no more and no fewer but the skips."""
    own = SamMaskDecoder(SamMaskDecoderConfig(**dataclasses.asdict(SIZES), attn_implementation="sdpa"))
    own.load_state_dict({k: v for k, v in decoder.state_dict().items() if not k.startswith("skip")})
    return own.eval().requires_grad_(False)


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("multimask", [True, False])
def test_unguided_it_is_the_librarys_own_decoder(multimask):
    decoder = random_decoder(GuidedMaskDecoder)
    embeddings, positions = drawn(1, 32, *GRID), drawn(1, 32, *GRID, seed=2)
    sparse, dense = drawn(3, 4, 32, seed=3), drawn(3, 32, *GRID, seed=4)
    logits, scores = decoder.predict(embeddings, positions, sparse, dense, None, multimask)
    both = embeddings.expand(3, -1, -1, -1), positions.expand(3, -1, -1, -1)
    expected = librarys_own(decoder)(*both, sparse[:, None], dense, multimask)
    torch.testing.assert_close(logits, expected[0][:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores, expected[1][:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("boxed", [False, True])
def test_prompts_are_encoded_as_the_library_does(boxed):
    """To the bit, as they are the same operations; points inside and outside, padding, boxes, masks, no mask."""
    encoder = PromptEncoder(32, 64)
    drawn_weights(encoder)
    vision = SamVisionConfig(image_size=64, patch_size=8, num_pos_feats=16)
    prompt = SamPromptEncoderConfig(hidden_size=32, image_size=64, patch_size=8)
    own = SamPromptEncoder(SamConfig(vision_config=vision, prompt_encoder_config=prompt)).requires_grad_(False)
    own.load_state_dict(encoder.state_dict())
    points, labels = 64 * drawn(3, 4, 2).sigmoid(), torch.tensor([[1, 0, -1, 1], [0, 0, 1, -1], [-1, -1, -1, 1]])
    boxes = torch.tensor([[3.0, 4.0, 30.0, 40.0], [0.0, 0.0, 63.0, 63.0], [8.5, 1.0, 9.5, 2.0]]) if boxed else None
    expected, dense = own(points[:, None], labels[:, None], boxes[:, None] if boxed else None, None)
    assert torch.equal(encoder(points, labels, boxes), expected[:, 0])
    assert torch.equal(encoder.no_mask(3, (8, 8)), dense)
    masks = drawn(3, 1, 32, 32)
    assert torch.equal(encoder.mask_embed(masks), own(points[:, None], labels[:, None], None, masks)[1])


def test_a_decoder_of_another_kind_is_refused():
    with pytest.raises(WeightsError, match="hidden_act is gelu"):
        decoder_sizes(SamMaskDecoderConfig(hidden_act="gelu"))


def test_finer_features_join_where_the_convolutions_put_their_cells():
    """With hooks on the library's convolutions in the place of what is added to their products."""
    decoder = random_decoder(FineMaskDecoder)
    embeddings, positions = drawn(1, 32, *GRID), drawn(1, 32, *GRID, seed=2)
    sparse, dense = drawn(2, 4, 32, seed=3), drawn(2, 32, *GRID, seed=4)
    height, width = GRID
    features = [drawn(1, 16, 4 * height, 4 * width, seed=5), drawn(1, 24, 2 * height, 2 * width, seed=6)]
    logits, _ = decoder.predict(embeddings, positions, sparse, dense, fine=decoder.fine(features))
    own = librarys_own(decoder)
    own.upscale_conv1.register_forward_hook(lambda module, args, out: out + decoder.skip4(features[1]))
    own.upscale_conv2.register_forward_hook(lambda module, args, out: out + decoder.skip2(features[0]))
    both = embeddings.expand(2, -1, -1, -1), positions.expand(2, -1, -1, -1)
    expected, _ = own(*both, sparse[:, None], dense, True)
    torch.testing.assert_close(logits, expected[:, 0], atol=1e-5, rtol=1e-5)


def test_depth_to_space_is_the_inverse_of_space_to_depth():
    maps = drawn(2, 3, 4 * GRID[0], 4 * GRID[1])
    values = space_to_depth(maps, 2).flatten(1, 2).transpose(1, 2)
    assert torch.equal(depth_to_space(values, GRID), maps)


def test_patches_in_half_precision_leave_tokens_as_they_are():
    decoder = random_decoder(GuidedMaskDecoder)
    inputs = drawn(1, 32, *GRID), drawn(1, 32, *GRID, seed=2), drawn(2, 4, 32, seed=3), drawn(2, 32, *GRID, seed=4)
    exact, scores = decoder.predict(*inputs)
    decoder.image_dtype = torch.bfloat16
    logits, rounded = decoder.predict(*inputs)
    assert logits.dtype == rounded.dtype == torch.float32
    assert (logits - exact).abs().max() < 0.05 * exact.abs().max()
    assert (rounded - scores).abs().max() < 0.05 * scores.abs().max()
