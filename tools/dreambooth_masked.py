"""Train DreamBooth on an object alone: the loss is masked, so that the background's pixels carry no gradient.

    python tools/dreambooth_masked.py --model MODEL --instance found/dreambooth/1 \
        --prompt "a photo of t@y dog" -o dog-model

Section 2.4 of the PerSAM paper, on top of diffusers. The instance folder has ``images/`` and ``masks/`` with files of
the same names, as ``vos-find --save dreambooth`` writes them. ``MODEL`` is a folder in the layout of a Stable Diffusion
pipeline, or a hub name. The U-Net is trained; text encoder and autoencoder stay as they are. Pictures of the class, if
given, keep the model from forgetting what others of it look like; their loss is over the whole picture.

Writes the U-Net to ``-o``, and ``log.csv`` with the loss of each step.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from vos.command.status import exit_status
from vos.engine.device import pick_device
from vos.errors import InputError, WeightsError, parameter
from vos.files import make_folder, output_errors

LEAST_COVERED = 0.5
"""Share of a latent's pixels that must lie in the mask for the latent to be trained on."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Example:
    """A picture to learn from.

    Attributes:
        pixels: (3, S, S) float in [-1, 1].
        mask: (1, S, S) float, 1 inside the object; all 1 for pictures of the class.
    """

    pixels: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Model:
    """The parts of a latent diffusion model.

    Attributes:
        unet: predicts the noise; the only part that is trained.
        vae: turns pictures into latents.
        text_encoder: turns tokens into what the U-Net is conditioned on.
        tokenizer: turns prompts into tokens.
        scheduler: adds noise.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any

    @classmethod
    def load(cls, name: str, device: torch.device) -> Model:
        """Load a pipeline's parts, in float32.

        Raises:
            InputError: diffusers is not installed.
            WeightsError: the folder or hub name does not hold them.
        """
        try:
            from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
        except ImportError as error:
            raise InputError("dreambooth_masked needs diffusers: pip install '.[dreambooth]'") from error
        from transformers import CLIPTextModel, CLIPTokenizer

        kinds = {
            "unet": UNet2DConditionModel,
            "vae": AutoencoderKL,
            "text_encoder": CLIPTextModel,
            "tokenizer": CLIPTokenizer,
            "scheduler": DDPMScheduler,
        }
        parts = {}
        for part, kind in kinds.items():
            try:
                parts[part] = kind.from_pretrained(name, subfolder=part)
            except (OSError, ValueError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise WeightsError(
                    f"{name}: its {part} does not load ({lines[0]}); name a pipeline's folder"
                ) from error
        for part in ("unet", "vae", "text_encoder"):
            parts[part].to(device).requires_grad_(part == "unet")
        return cls(**parts)

    def conditions(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts, (B, L, C) float."""
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(
            list(prompts), truncation=True, padding="max_length", max_length=length, return_tensors="pt"
        )
        with torch.no_grad():
            states: Tensor = self.text_encoder(tokens.input_ids.to(self.text_encoder.device))[0]
        return states

    def latents(self, pixels: Tensor) -> Tensor:
        """Encode pictures (B, 3, S, S), scaled as the U-Net expects, (B, C, s, s) float."""
        with torch.no_grad():
            drawn: Tensor = self.vae.encode(pixels).latent_dist.sample()
        return drawn * self.vae.config.scaling_factor


def latent_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring masks to the size of latents: a latent is inside if half of its pixels are.

    An object so small that no latent is half covered keeps the latents that it covers most.

    Args:
        mask: (B, 1, H, W) float, 1 inside.
        size: (h, w) of the latents.

    Returns:
        (B, 1, h, w) float, 0 or 1.
    """
    covered = F.adaptive_avg_pool2d(mask, size)
    most = covered.amax(dim=(1, 2, 3), keepdim=True)
    return (covered >= most.clamp(max=LEAST_COVERED)).to(mask.dtype) * (most > 0)


def masked_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error inside masks; values outside have no part in it, and so no gradient.

    Args:
        predicted: (B, C, h, w) float.
        target: the same.
        mask: (B, 1, h, w) float, 0 or 1.

    Returns:
        The mean over the values inside, then over pictures; 0 if all masks are empty.
    """
    errors = (predicted.float() - target.float()).square().mean(dim=1, keepdim=True)
    inside = torch.where(mask > 0, errors, torch.zeros_like(errors)).sum(dim=(1, 2, 3))
    return (inside / mask.sum(dim=(1, 2, 3)).clamp(min=1)).mean()


def loss_of(model: Model, examples: Sequence[Example], prompt: str, generator: torch.Generator) -> Tensor:
    """Compute the masked loss of some pictures at drawn times of the diffusion.

    Args:
        model: whose U-Net gets the gradient.
        examples: pictures of one size.
        prompt: of all of them.
        generator: draws noise and times, on the CPU.

    Raises:
        InputError: the model predicts something that this tool does not know.
    """
    device = model.unet.device
    latents = model.latents(torch.stack([each.pixels for each in examples]).to(device))
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    steps = model.scheduler.config.num_train_timesteps
    times = torch.randint(0, steps, (len(examples),), generator=generator).to(device)
    noisy = model.scheduler.add_noise(latents, noise, times)
    predicted = model.unet(noisy, times, model.conditions([prompt] * len(examples))).sample
    kind = model.scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(f"{parameter('model')}: it predicts {kind!r}, but noise or velocity is needed")
    target = noise if kind == "epsilon" else model.scheduler.get_velocity(latents, noise, times)
    mask = torch.stack([each.mask for each in examples]).to(device)
    return masked_loss(predicted, target, latent_mask(mask, (latents.shape[-2], latents.shape[-1])))


def read_example(picture: Path, mask: Path | None, size: int) -> Example:
    """Read a picture and the mask of its object, and cut both to the square that has most of the object.

    Args:
        picture: its file.
        mask: an image that is not black inside; None: all of the picture counts.
        size: side of the square in pixels, to which the picture's short side is brought.

    Raises:
        InputError: a file is missing or unreadable, the sizes differ, or the mask is empty.
    """
    rgb = _opened(picture).convert("RGB")
    inside = Image.new("L", rgb.size, 255) if mask is None else _opened(mask).convert("L").point(_white)
    if inside.size != rgb.size:
        raise InputError(f"{mask}: {inside.width} x {inside.height}, but its picture is {rgb.width} x {rgb.height}")
    if inside.getbbox() is None:
        raise InputError(f"{mask}: the mask is empty, every pixel is background; leave this picture out")
    scale = size / min(rgb.size)
    scaled = max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale))
    rgb = rgb.resize(scaled, Image.Resampling.BILINEAR)
    inside = inside.resize(scaled, Image.Resampling.NEAREST)
    x0, y0, x1, y1 = inside.getbbox() or (0, 0, *scaled)
    left = int(np.clip((x0 + x1 - size) // 2, 0, scaled[0] - size))
    top = int(np.clip((y0 + y1 - size) // 2, 0, scaled[1] - size))
    window = (left, top, left + size, top + size)
    pixels = torch.from_numpy(np.asarray(rgb.crop(window), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1)
    return Example(pixels, torch.from_numpy((np.asarray(inside.crop(window)) > 0).astype(np.float32)[None]))


def _opened(path: Path) -> Image.Image:
    """Read an image, upright; raise an InputError if that fails."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error})") from error


def _white(value: int) -> int:
    """Every value but 0 is inside."""
    return 255 if value else 0


def read_instances(folder: Path, size: int) -> list[Example]:
    """Read the pictures in ``images/`` with their masks in ``masks/``.

    Raises:
        InputError: there are none, a mask is missing, or a file cannot be used.
    """
    examples = []
    for picture in pictures_in(folder / "images"):
        mask = folder / "masks" / f"{picture.stem}.png"
        if not mask.is_file():
            raise InputError(f"{mask}: no such mask; every picture in images/ needs one, also named {picture.stem}")
        examples.append(read_example(picture, mask, size))
    return examples


def pictures_in(folder: Path) -> list[Path]:
    """List the pictures of a folder; raise an InputError if there are none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder}: holds no pictures")
    return found


def endless(examples: Sequence[Example], batch: int, generator: torch.Generator) -> Iterator[list[Example]]:
    """Yield batches for ever; every picture comes once before one comes again."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += torch.randperm(len(examples), generator=generator).tolist()
        yield [examples[index] for index in waiting[:batch]]
        del waiting[:batch]


def train(
    model: Model, instances: list[Example], classes: list[Example], options: argparse.Namespace
) -> Iterator[float]:
    """Train the U-Net; yield the loss of each step."""
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)  # for the autoencoder's draws
    optimiser = torch.optim.AdamW(model.unet.parameters(), lr=options.learning_rate, weight_decay=1e-2)
    shown = endless(instances, options.batch, generator)
    others = endless(classes, options.batch, generator) if classes else None
    model.unet.train()
    for _ in range(options.steps):
        loss = loss_of(model, next(shown), options.prompt, generator)
        if others is not None:
            loss = loss + options.class_weight * loss_of(model, next(others), options.class_prompt, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.unet.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        yield float(loss.detach())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; the defaults are those of the paper (C.3)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a Stable Diffusion pipeline, or its hub name")
    parser.add_argument("--instance", type=Path, required=True, metavar="FOLDER", help="holds images/ and masks/")
    parser.add_argument("--prompt", required=True, help="with a word that stands for the object")
    parser.add_argument("--class-images", type=Path, metavar="FOLDER", help="pictures of the class, about 200")
    parser.add_argument("--class-prompt", help="of these, without the word")
    parser.add_argument("--class-weight", type=float, default=1.0, help="weight of their loss (default: 1)")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-6)
    parser.add_argument("--size", type=int, default=512, help="side of the pictures in pixels (default: 512)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="gets unet/ and log.csv")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> int:
    """Read, train and write.

    Raises:
        VosError: a picture, mask or model is missing or unusable, or the result cannot be written.
    """
    for name in ("steps", "batch", "size"):
        if getattr(options, name) < 1:
            raise InputError(f"{parameter(name)} {getattr(options, name)}: must be 1 or more")
    if (options.class_images is None) != (options.class_prompt is None):
        raise InputError(f"{parameter('class_images')} and {parameter('class_prompt')} go together; give both or none")
    instances = read_instances(options.instance, options.size)
    folder = options.class_images
    classes = [read_example(path, None, options.size) for path in pictures_in(folder)] if folder else []
    model = Model.load(options.model, pick_device(options.device))
    make_folder(options.output)
    log = options.output / "log.csv"
    with output_errors(log), log.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", "loss"))
        for step, loss in enumerate(train(model, instances, classes, options)):
            writer.writerow((step, f"{loss:.6f}"))
            if (step + 1) % 50 == 0:
                print(f"step {step + 1} of {options.steps}, loss {loss:.4f}", flush=True)
    with output_errors(options.output):
        model.unet.save_pretrained(options.output / "unet")
    print(f"the U-Net is in {options.output / 'unet'}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit status."""
    options = parse(arguments)
    return exit_status("dreambooth_masked", lambda: run(options), options.traceback, "run the command again")


if __name__ == "__main__":
    sys.exit(main())
