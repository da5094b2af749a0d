"""Readers: from video files, image folders and streams to frames, and from mask files to the first mask.

- ``open``: opens whatever the user names and chooses the backend for it.
- ``source``: the protocols of a backend, and the reader over one (start, stride, max_frames).
- ``pyav``, ``decord``: backends for video files; ``images``: the backend for image folders.
- ``series``: which files of a folder are frames; ``pictures``: decodes them; ``depth``: brings them to 8 bits.
- ``frames``: frames that are handed over in Python.
- ``live``: the backend for streams, and the reader that drops frames; ``address`` parses a stream's name.
- ``decoding``: one pass over a container with PyAV, past damaged packets; used by ``pyav`` and ``live``.
- ``pixels``: decoded frames to upright RGB; ``tonemap``: HDR to SDR; ``filters``: FFmpeg's filters for both.
- ``prefetch``: reading ahead on a thread.
- ``seek``: the frames of a video in any order, for the annotation page.
- ``first_mask``: the objects to follow; ``mask_size``: brings them to the size of the video.
- ``labels``: reads any mask file; ``mask_files`` decodes it, ``colours`` numbers its colours.
- ``label_sets``: true masks of many frames from COCO, YOLO, CVAT or a folder; ``marked``: what its formats list.
- ``limits``: refuses pictures that are too large before memory is taken for them.
"""
