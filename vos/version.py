"""The version of the package; CONTRIBUTING.md has the rule by which it is counted."""

__version__ = "0.1.0"
