"""One-shot segmentation sets, and the command ``vos-oneshot`` that measures on them.

``episodes`` has what all readers yield, ``files`` reads their annotation files, ``sets`` lists the readers, and
``command`` is the command. A set is one module: ``fss``, ``lvis``, ``coco``, ``pascal_part``, ``paco_part``.
``docs/one-shot.md`` says which layouts they read.
"""
