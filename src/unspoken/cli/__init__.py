"""The command `unspoken`."""

from unspoken.cli.main import main

__all__ = ["main"]
