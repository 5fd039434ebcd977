"""The command line, a file for each group of verbs; `app` puts them together."""

import sys

from rung.interrupts import heard


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    with heard():
        try:
            from rung.cli import app
        except KeyboardInterrupt:  # loading takes a moment
            print("rung: stopped", file=sys.stderr)
            sys.exit(130)
        app.main(arguments)


__all__ = ["main"]
