"""The version of the package; how it is counted says CONTRIBUTING.md."""

__version__ = "0.1.0"
