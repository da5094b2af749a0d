"""The command ``vos-track``.

A run goes through these modules from top to bottom:

- :mod:`.cli`: the entry point; from arguments to an exit status.
- :mod:`.options`: the options with their types, and the checks that need nothing else.
- :mod:`.run`: one run, from its options to its files.
- :mod:`.result_folder`: prepares the folder of the results.
- :mod:`.journal`: what a stopped run needs to go on, kept in ``OUT/.resume``. :mod:`.frame_log` writes it,
  :mod:`.saved` reads it back, and :mod:`.same_run` tells whether a run is the one that was stopped.
- :mod:`.progress`: a bar on a terminal, plain lines elsewhere.
- :mod:`.run_record`: writes ``run.json``.
- :mod:`.status`: messages, and the exit status.

``vos-annotate`` and ``vos-davis`` share the options of the models, the progress, the record and the exit status.
"""
