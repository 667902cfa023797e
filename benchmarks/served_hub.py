"""What `pysignal serve` runs, in a process that ends with its input.

    python served_hub.py KEY [FOLDER]

KEY is that of the tokens, FOLDER that of a journal. It says where it listens, as the command does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from pysignal.server.command import Options, serve


def end_with_input() -> None:
    """Stop as the command is stopped, once nobody is there any more who could write."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    journal = Path(sys.argv[2]) if sys.argv[2:] else None
    sys.exit(serve(Options(port=0, jwt_key=sys.argv[1], journal=journal)))
