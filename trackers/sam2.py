"""SAM 2 and EdgeTAM with the modules of ``transformers``: frame in, mask out, with a memory that does not grow.

The library keeps every frame and every output of a video in one session. Here each object has its own session, so that
one can join, leave or be corrected without touching the others. The image is encoded once for all of them. After each
frame, what the memory attention will not read again is dropped.
"""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..errors import WeightsError
from ..geometry import Geometry
from ..interfaces import FrameContext
from ..structures import FirstMask, Result, Tracked
from ..weights import model_files, pretrained
from ..weights.licences import tell_licence
from ..weights.model_cache import ModelCache

CONDITIONING_FRAMES = 8
"""True masks that are kept of one object: the first, and the latest corrections."""

POINTER = ("object_pointer",)
"""Keys of a frame's output that make its object pointer."""

MEMORY = ("maskmem_features", "maskmem_pos_enc")
"""Keys of a frame's output that make its spatial memory."""

Outputs = MutableMapping[int, dict[str, Any]]
"""Outputs of one object by frame, as a session keeps them."""


@dataclass(frozen=True)
class Sam2Options:
    """Options of SAM 2.

    Attributes:
        weights: a hub name or a folder written by ``save_pretrained``. ``sam2:facebook/sam2.1-hiera-large`` as the
            name of the tracker sets it.
    """

    weights: str = "facebook/sam2.1-hiera-small"


@dataclass(frozen=True)
class EdgeTamOptions(Sam2Options):
    """Options of EdgeTAM; see :class:`Sam2Options`."""

    weights: str = "yonigozlan/EdgeTAM-hf"


class Inference(Protocol):
    """What is used of a session of the library's, which holds one object, number 0."""

    cache: Any
    processed_frames: MutableMapping[int, Tensor]
    mask_inputs_per_obj: MutableMapping[int, MutableMapping[int, Tensor]]
    frames_tracked_per_obj: MutableMapping[int, MutableMapping[int, Any]]
    output_dict_per_obj: MutableMapping[int, MutableMapping[str, Outputs]]
    obj_with_new_inputs: MutableSequence[int]

    def obj_id_to_idx(self, obj_id: int) -> int:
        """Return the index of an object; make one if it is new."""
        ...

    def add_mask_inputs(self, obj_idx: int, frame_idx: int, inputs: Tensor) -> None:
        """Give the true mask (1, 1, S, S) of an object on a frame."""
        ...


class Segmented(Protocol):
    """What is used of the model's output for one object."""

    pred_masks: Tensor
    object_score_logits: Tensor


class Sam2:
    """SAM 2 as a tracker; its masks equal those of the library's own streaming session.

    See :class:`~vos.interfaces.Tracker`. A score is the model's probability that the object is in the frame. Below one
    half the mask is empty, and the object may come back. A corrected mask is kept beside the first one as a true mask,
    and the memory of the object in between is dropped. As in the library, the merged result is not fed back.

    Attributes:
        files: weight files in use, after ``start``.
        models: keeps the model, see :class:`~vos.weights.model_cache.Borrowing`.
        mean: of red, green and blue on a scale of 0 to 1, which the input is normalised by.
        deviation: standard deviation, likewise.
    """

    Options = Sam2Options
    name = "sam2"
    model_class = "Sam2VideoModel"
    session_class = "Sam2VideoInferenceSession"
    mean: ClassVar[Sequence[float]] = IMAGENET_DEFAULT_MEAN
    deviation: ClassVar[Sequence[float]] = IMAGENET_DEFAULT_STD

    def __init__(self, options: Sam2Options | None = None):
        self.options = options or self.Options()
        self.files: tuple[str, ...] = ()
        self.models = ModelCache()
        self._loaded: PreTrainedModel | None = None

    def start(self, context: FrameContext, first_mask: FirstMask) -> None:
        if self._loaded is None:
            self._load(context)
        config = self._model.config
        patch = config.prompt_encoder_config.patch_size
        self._geometry = Geometry.stretched(context.frame.size, config.image_size, patch)
        self._frame = 0  # counted here, as frames before the first mask may have been left out
        self._features = self._session().cache  # of the last frame, shared by all objects
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
        """Do nothing: ``step`` has made the memory."""

    def add(self, context: FrameContext, first_mask: FirstMask) -> None:
        joining = [self._new_object() for _ in first_mask.object_ids]
        self._take(context, joining, first_mask)
        self._objects += joining

    def correct(self, context: FrameContext, rows: list[int], first_mask: FirstMask) -> None:
        corrected = [self._objects[row] for row in rows]
        for session in corrected:
            session.output_dict_per_obj[0]["non_cond_frame_outputs"].clear()
        self._take(context, corrected, first_mask)

    def forget(self, context: FrameContext, rows: list[int]) -> None:
        """Drop what was remembered since the true masks; the model tells by itself whether it sees the object."""
        for row in rows:
            self._objects[row].output_dict_per_obj[0]["non_cond_frame_outputs"].clear()

    def remove(self, rows: list[int]) -> None:
        self._objects = [session for row, session in enumerate(self._objects) if row not in rows]

    @property
    def _model(self) -> Any:
        """The model, which the library does not annotate, after ``start``."""
        if self._loaded is None:
            raise RuntimeError("start() comes first")
        return self._loaded

    def _load(self, context: FrameContext) -> None:
        """Get the model on the session's device, in its precision.

        Raises:
            WeightsError: the weights, or a package that their encoder needs, are not there.
        """
        key = ("tracker", self.name, self.options.weights, context.device, context.dtype)
        self._loaded = self.models.get(key, lambda: self._read(context))
        self.files = model_files(self.options.weights)

    def _read(self, context: FrameContext) -> PreTrainedModel:
        """Load the weights; see :meth:`_load`."""
        source = self.options.weights
        try:
            model = pretrained(getattr(transformers, self.model_class), source, "tracker", f"{self.name}:FOLDER")
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"{source}: its image encoder cannot be used here: {reason}") from error
        tell_licence(self.name, self.name)
        return model.to(device=context.device, dtype=context.dtype).eval().requires_grad_(False)

    def _session(self) -> Inference:
        """Make a session of the library's, with nothing in it."""
        places = ("inference_device", "inference_state_device", "video_storage_device")
        placement = dict.fromkeys(places, self._model.device)
        return getattr(transformers, self.session_class)(dtype=self._model.dtype, **placement)

    def _new_object(self) -> Inference:
        """Make a session for one object, which shares the image's features with the others."""
        session = self._session()
        session.cache = self._features
        session.obj_id_to_idx(0)
        return session

    def _pixels(self, context: FrameContext) -> Tensor:
        """Make the input of the image encoder from a frame, (3, S, S)."""
        image = torch.tensor(self._geometry.resize(context.frame.rgb), device=self._model.device).float() / 255
        mean, deviation = image.new_tensor(self.mean), image.new_tensor(self.deviation)
        return ((image - mean) / deviation).permute(2, 0, 1).to(self._model.dtype)

    def _take(self, context: FrameContext, sessions: list[Inference], first_mask: FirstMask) -> None:
        """Give each session the true mask of its object on this frame."""
        masks = torch.tensor(first_mask.masks(), device=self._model.device)
        prompts = self._geometry.input_masks(masks)
        pixels = self._pixels(context)
        for session, prompt in zip(sessions, prompts, strict=True):
            session.add_mask_inputs(0, self._frame, prompt[None, None].float())
            session.obj_with_new_inputs = [0]
            self._run(session, pixels)

    def _run(self, session: Inference, pixels: Tensor) -> Segmented:
        """Segment one object in this frame, remember the result, and drop what will not be read again."""
        output: Segmented = self._model(session, frame_idx=self._frame, frame=pixels)
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
            age = self._frame + 1 - at  # in the next frame
            wanted: tuple[str, ...] = POINTER if age < config.max_object_pointers_in_encoder else ()
            wanted += MEMORY if age < config.num_maskmem else ()
            tracked[at] = {key: tracked[at][key] for key in wanted}
            if not wanted:
                del tracked[at]
        return output


class EdgeTam(Sam2):
    """EdgeTAM as a tracker: SAM 2 with a small encoder and a condensed memory. See :class:`Sam2`.

    The encoder of the published weights comes from the package ``timm``.
    """

    Options = EdgeTamOptions
    name = "edgetam"
    model_class = "EdgeTamVideoModel"
    session_class = "EdgeTamVideoInferenceSession"
