"""The command line, a file for each group of verbs; `app` puts them together."""

from rung.cli.app import main

__all__ = ["main"]
