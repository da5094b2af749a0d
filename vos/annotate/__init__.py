"""The command ``vos-annotate``: a local web page on which objects are marked, followed and corrected.

- ``cli``: the command; ``page``: the page, with ``page.css``, ``page.js`` and ``markup``;
  ``gate``: what it refuses to serve.
- ``marking``: objects, marks and masks, without any page; ``project``: tracking them; ``run`` and ``ways``: start the
  tracking forwards and backwards; ``guesses`` and ``label_maps``: masks on the
  disk; ``archive``: the download; ``picture``: the picture of a frame with its marks.
"""
