"""Finds what references show in single pictures, for the benchmarks: models are loaded once, references change.

Used by ``vos-perseg``, ``vos-oneshot``, ``subjects`` and ``mirrored``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from .. import plugins
from ..engine.models import new_tracker
from ..engine.session import Session
from ..errors import InputError, parameter
from ..finder import Finder
from ..interfaces import Tracker
from ..references import Reference
from .models import Models

ALWAYS = 0.0
"""Presence threshold of protocols in which every picture shows the object."""


@dataclass(frozen=True)
class Finding:
    """Makes finders that share their models.

    Attributes:
        models: loaded ones.
        tracker: name of a tracker that takes references.
        prior: name of the prior encoder.
        published: behave as the released image scripts where these differ from the paper.
    """

    models: Models
    tracker: str
    prior: str = "same"
    published: bool = False

    @classmethod
    def chosen(cls, options: argparse.Namespace) -> Finding:
        """Load what the options of :func:`add_options` name.

        Raises:
            VosError: a model is unknown or does not load.
        """
        image_tracker(options.tracker, options.published)  # before weights load
        models = Models.load(options.model, options.device, options.dtype)
        return cls(models, options.tracker, options.prior, options.published)

    def session(self) -> Session:
        """A session without references, which knows what files the models came from.

        Raises:
            VosError: the tracker or the prior encoder is unusable.
        """
        return self.models.session(image_tracker(self.tracker, self.published), self.prior)

    def finder(self, references: Sequence[Reference], threshold: float | None = ALWAYS) -> Finder:
        """A finder of the objects that references show; close it, or use it in a ``with`` statement.

        Args:
            references: one or more of each object.
            threshold: presence from which on an object counts as there; None: that of the model.

        Raises:
            VosError: the tracker takes no references, or one of them shows no object.
        """
        tracker = image_tracker(self.tracker, self.published)
        encoder = self.models.encoder(self.prior)
        return Finder(tracker, self.models.segmenter, encoder, references, threshold=threshold)


def image_tracker(name: str, published: bool) -> Tracker:
    """Make a tracker by name; ``published`` gives it the options of the released image scripts.

    Raises:
        InputError: the tracker has no such options.
        PluginError: there is no such tracker.
    """
    if not published:
        return new_tracker(name)
    kind = plugins.load("vos.trackers", name)
    options = getattr(getattr(kind, "Options", None), "published_image", None)
    if options is None:
        raise InputError(f"{name}: no image script of this tracker was released; leave out {parameter('published')}")
    tracker: Tracker = kind(options())
    return tracker


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a tracker and its models, see :meth:`Finding.chosen`."""
    parser.add_argument("--tracker", default="persam-f", help="persam or persam-f, or another that takes references")
    parser.add_argument("--model", default="lite", help="as for vos-track (default: lite)")
    parser.add_argument("--prior", default="same", help="as for vos-track (default: same)")
    parser.add_argument("--published", action="store_true", help="the released scripts' behaviour where it differs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
