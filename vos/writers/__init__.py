"""Writers turn results into files, streams and windows; each is a :class:`~vos.io_interfaces.Writer`.

- ``outputs``: one record per output; ``open``: opens them by name; ``thread``: runs writers on a thread.
- ``masks``, ``overlay``, ``table``, ``matte``, ``npz``, ``coco``, ``mask_video``, ``binary``, ``exr``, ``yolo``,
  ``cvat``, ``coco_images``, ``labelme``: the outputs of ``--save``; ``debug``: pictures of ``--debug``.
- ``stream``: the overlay on standard output; ``window``: the overlay on the screen.
- ``encoded``: video files; ``sound``: their sound; ``drawing``: the overlay's pixels; ``contrast``: its colours.
- ``label_names``, ``spool``: what the outputs for labelling tools share.
"""
