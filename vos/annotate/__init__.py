"""The command ``vos-annotate``: a local web page on which objects are marked, followed and corrected.

- ``cli``: the command; ``page``: the page, with ``page.css``, ``page.js`` and ``markup``;
  ``gate``: what it refuses to serve.
- ``project``: marks, masks and tracking, without any page; ``run``: starts the tracking; ``label_maps``: masks on the
  disk; ``archive``: the download; ``picture``: the picture of a frame with its marks.
"""
