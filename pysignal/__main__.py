"""`python -m pysignal`: the same as the command `pysignal`, which begins here.

What the commands need is an extra of the package, so that a server need not install it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

_NEEDED: Final = ("rich", "typer")


def main() -> None:
    """Run the command line, and exit."""
    try:
        for name in _NEEDED:
            importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in _NEEDED:
            raise
        print(
            f"pysignal: {missing.name} is missing, pip install 'pysignal-engine[cli]' gets it",
            file=sys.stderr,
        )
        sys.exit(2)
    from pysignal.cli import app

    app(prog_name="pysignal")


if __name__ == "__main__":
    main()
