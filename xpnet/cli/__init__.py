"""The command line."""

from xpnet.cli.main import USAGE_ERROR, commands, main

__all__ = ["USAGE_ERROR", "commands", "main"]
