"""FFmpeg's filters on decoded frames; used for deinterlacing (``pixels``) and tone mapping (``tonemap``)."""

from __future__ import annotations

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame


def filter_graph(frame: VideoFrame, name: str, **options: str) -> Graph:
    """Set up one filter.

    Args:
        frame: tells the size and format of all frames that will be pushed.
        name: of the filter, as FFmpeg has it.
        **options: of the filter.

    Returns:
        The configured graph: push frames in, pull filtered ones out.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add(name, **options), graph.add("buffersink")).configure()
    return graph
