"""The command ``vos-batch``: many videos, on the cores of one machine or on a Ray cluster.

From top to bottom:

- :mod:`.cli`: the entry point, its options, and one batch from beginning to end.
- :mod:`.arguments`: parts the command line into options of the batch and options of every video.
- :mod:`.manifest`: reads the rows of the manifest and checks each, before anything starts.
- :mod:`.lengths`: how many frames each video has, so that long ones come first.
- :mod:`.results`: what is finished already, and the tables of the batch.
- :mod:`.storage`: the folder or the address that the results go to.
- :mod:`.progress`: one line that tells how far the batch is.
- :mod:`.drive`: the loop between the scheduler and the workers.
- :mod:`.scheduler`: which worker gets which task next, and how often; pure, without processes.
- :mod:`.local` and :mod:`.ray_actors`: the two executors. :mod:`.serve` runs inside of a local worker process.
- :mod:`.worker`: tracks one video after another in a worker, by the code of ``vos-track``.

``vos-davis --ray`` gives its sequences to the same executors.
"""
