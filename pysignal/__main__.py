"""`python -m pysignal`: the same as the command `pysignal`."""

from pysignal.cli import main

if __name__ == "__main__":
    main()
