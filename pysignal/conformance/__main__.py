"""Runs `python -m pysignal.conformance`."""

import sys

from pysignal.conformance.command import main

if __name__ == "__main__":
    sys.exit(main())
