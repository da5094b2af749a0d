"""The mask decoder against ``transformers``' own, and where its up-sampling puts things."""

from __future__ import annotations

import pytest
import torch
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

from vos.segmenters.lite_network import FineMaskDecoder
from vos.segmenters.mask_decoder import GuidedMaskDecoder, depth_to_space, space_to_depth

GRID = (5, 7)


def random_decoder(kind: type[GuidedMaskDecoder]) -> GuidedMaskDecoder:
    generator = torch.Generator().manual_seed(0)
    sizes = {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32}
    decoder = kind(SamMaskDecoderConfig(**sizes, attn_implementation="sdpa")).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return decoder


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("multimask", [True, False])
def test_unguided_it_is_the_librarys_own_decoder(multimask):
    decoder = random_decoder(GuidedMaskDecoder)
    embeddings, positions = drawn(1, 32, *GRID), drawn(1, 32, *GRID, seed=2)
    sparse, dense = drawn(3, 4, 32, seed=3), drawn(3, 32, *GRID, seed=4)
    logits, scores = decoder.predict(embeddings, positions, sparse, dense, None, multimask)
    both = embeddings.expand(3, -1, -1, -1), positions.expand(3, -1, -1, -1)
    expected = SamMaskDecoder.forward(decoder, *both, sparse[:, None], dense, multimask)
    torch.testing.assert_close(logits, expected[0][:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores, expected[1][:, 0], atol=1e-5, rtol=1e-5)


def test_finer_features_join_where_the_convolutions_put_their_cells():
    """With hooks on the library's convolutions in the place of what is added to their products."""
    decoder = random_decoder(FineMaskDecoder)
    embeddings, positions = drawn(1, 32, *GRID), drawn(1, 32, *GRID, seed=2)
    sparse, dense = drawn(2, 4, 32, seed=3), drawn(2, 32, *GRID, seed=4)
    height, width = GRID
    features = [drawn(1, 16, 4 * height, 4 * width, seed=5), drawn(1, 24, 2 * height, 2 * width, seed=6)]
    logits, _ = decoder.predict(embeddings, positions, sparse, dense, fine=decoder.fine(features))
    decoder.upscale_conv1.register_forward_hook(lambda module, args, out: out + decoder.skip4(features[1]))
    decoder.upscale_conv2.register_forward_hook(lambda module, args, out: out + decoder.skip2(features[0]))
    both = embeddings.expand(2, -1, -1, -1), positions.expand(2, -1, -1, -1)
    expected, _ = SamMaskDecoder.forward(decoder, *both, sparse[:, None], dense, True)
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
