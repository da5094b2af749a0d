"""SAM 2 and EdgeTAM through ``transformers``: frame in, mask out, with a memory that does not grow.

The library keeps every frame and every output of a video in one session. Here each object has a
session of its own, so that objects join, leave and are corrected without the others being touched;
the image is encoded once for all of them, and after each frame everything is dropped that the memory
attention will not read again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import transformers
from torch import Tensor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..errors import WeightsError
from ..geometry import Geometry
from ..interfaces import FrameContext
from ..structures import FirstMask, Result, Tracked
from ..weights import model_files, pretrained

CONDITIONING_FRAMES = 8
"""True masks kept of one object: the first, and the latest corrections."""

POINTER = ("object_pointer",)
MEMORY = ("maskmem_features", "maskmem_pos_enc")


@dataclass(frozen=True)
class Sam2Options:
    """Options of SAM 2.

    Attributes:
        weights: a hub name or a folder written by ``save_pretrained``; what follows the colon of
            ``--tracker sam2:facebook/sam2.1-hiera-large``.
    """

    weights: str = "facebook/sam2.1-hiera-small"


@dataclass(frozen=True)
class EdgeTamOptions:
    """Options of EdgeTAM; see :class:`Sam2Options`."""

    weights: str = "yonigozlan/EdgeTAM-hf"


class Sam2:
    """SAM 2 as a tracker; masks equal those of the library's own streaming session. See ``Tracker``.

    Scores are the model's probability that the object is in the frame; below one half its mask is
    empty, and it may come back. A corrected mask stands beside the first one as a true mask; what was
    remembered of the object in between is forgotten. The merged result is not fed back: neither does
    the library.

    Attributes:
        files: weight files in use, after ``start``.
    """

    Options = Sam2Options
    name = "sam2"
    model_class = "Sam2VideoModel"
    session_class = "Sam2VideoInferenceSession"

    def __init__(self, options: Sam2Options | None = None):
        self.options = options or self.Options()
        self.files: tuple[str, ...] = ()
        self._model = None

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        if self._model is None:
            self._load(context)
        config = self._model.config
        patch = config.prompt_encoder_config.patch_size
        self._geometry = Geometry.stretched(context.frame.size, config.image_size, patch)
        self._frame = 0  # of the tracker's own count: frames may have been left out before it saw them
        self._features = self._session().cache  # of the last frame, for all objects
        self._objects = [self._new_object() for _ in first_mask.object_ids]
        self._take(context, self._objects, first_mask)

    def step(self, context: FrameContext) -> Tracked:
        self._frame += 1
        pixels = self._pixels(context)
        outputs = [self._run(session, pixels) for session in self._objects]
        logits = torch.cat([output.pred_masks for output in outputs])[:, 0].float()
        presence = torch.cat([output.object_score_logits for output in outputs])[:, 0].float()
        return Tracked(logits, presence.sigmoid(), self._geometry)

    def observe(self, context: FrameContext, result: Result) -> None:
        """Nothing: the memory was made in ``step``."""

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        joining = [self._new_object() for _ in first_mask.object_ids]
        self._take(context, joining, first_mask)
        self._objects += joining

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        corrected = [self._objects[row] for row in rows]
        for session in corrected:
            session.output_dict_per_obj[0]["non_cond_frame_outputs"].clear()
        self._take(context, corrected, first_mask)

    def remove(self, rows: list[int]) -> None:
        self._objects = [session for row, session in enumerate(self._objects) if row not in rows]

    def _load(self, context: FrameContext) -> None:
        """Load the weights, where and how precisely the session runs.

        Raises:
            WeightsError: they, or a package that their encoder needs, are not there.
        """
        source = self.options.weights
        try:
            model = pretrained(getattr(transformers, self.model_class), source, f"--tracker {self.name}:FOLDER,")
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"{source}: its image encoder cannot be used here: {reason}") from error
        self._model = model.to(device=context.device, dtype=context.dtype).eval().requires_grad_(False)
        self.files = model_files(source)

    def _session(self):
        """A session of the library's, with nothing in it."""
        places = ("inference_device", "inference_state_device", "video_storage_device")
        placement = dict.fromkeys(places, self._model.device)
        return getattr(transformers, self.session_class)(dtype=self._model.dtype, **placement)

    def _new_object(self):
        """A session for one object, which shares the image's features with the others."""
        session = self._session()
        session.cache = self._features
        session.obj_id_to_idx(0)
        return session

    def _pixels(self, context: FrameContext) -> Tensor:
        """The frame as the image encoder takes it, (3, S, S)."""
        image = torch.tensor(self._geometry.resize(context.frame.rgb), device=self._model.device).float() / 255
        mean, deviation = image.new_tensor(IMAGENET_DEFAULT_MEAN), image.new_tensor(IMAGENET_DEFAULT_STD)
        return ((image - mean) / deviation).permute(2, 0, 1).to(self._model.dtype)

    def _take(self, context: FrameContext, sessions: list, first_mask: FirstMask) -> None:
        """Give the true masks of objects on this frame, one for each session."""
        masks = torch.tensor(first_mask.masks(), device=self._model.device)
        prompts = self._geometry.input_masks(masks)
        pixels = self._pixels(context)
        for session, prompt in zip(sessions, prompts, strict=True):
            session.add_mask_inputs(0, self._frame, prompt[None, None].float())
            session.obj_with_new_inputs = [0]
            self._run(session, pixels)

    def _run(self, session, pixels: Tensor):
        """Segment one object in this frame, remember that, and forget what is of no more use."""
        output = self._model(session, frame_idx=self._frame, frame=pixels)
        session.processed_frames.clear()
        session.mask_inputs_per_obj[0].clear()
        session.frames_tracked_per_obj[0].clear()  # so that a corrected frame counts as one with a true mask
        outputs = session.output_dict_per_obj[0]
        conditioning, tracked = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
        if len(conditioning) > CONDITIONING_FRAMES:
            del conditioning[sorted(conditioning)[1]]
        for at in conditioning:
            conditioning[at] = {key: conditioning[at][key] for key in POINTER + MEMORY}
        config = self._model.config
        for at in list(tracked):
            age = self._frame + 1 - at  # as the next frame will see it
            wanted = POINTER if age < config.max_object_pointers_in_encoder else ()
            wanted += MEMORY if age < config.num_maskmem else ()
            tracked[at] = {key: tracked[at][key] for key in wanted}
            if not wanted:
                del tracked[at]
        return output


class EdgeTam(Sam2):
    """EdgeTAM as a tracker: SAM 2 with a small encoder and a condensed memory. See :class:`Sam2`.

    The published weights' encoder comes from the package ``timm``.
    """

    Options = EdgeTamOptions
    name = "edgetam"
    model_class = "EdgeTamVideoModel"
    session_class = "EdgeTamVideoInferenceSession"
