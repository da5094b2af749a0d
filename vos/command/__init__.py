"""The command ``vos-track``: options, progress, the result folder and its journal."""
