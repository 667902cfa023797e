"""Cut the power of a real file system under load, and see that nothing acknowledged is lost.

    sudo .venv/bin/python scripts/power_cut.py --rounds 30

Each round a server works on an ext4 that lies in a file. It is stopped, what it has acknowledged is
read, and only then the file is copied: whatever the server had not synced is in the memory of the
system, not in the file, as if the power had been cut. The copy is mounted, which replays the file
system's own journal, and opened; every acknowledged operation must be there.

A loop device writes what it was told to flush into the file before it says that this is done, so
the copy is what a disk with a volatile cache would hold. It needs root, for `mount` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from crash.acknowledged import missing, read  # noqa: E402

IMAGE_MB = 64


def run(*command: str) -> str:
    """Run a command, and return what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """Mount the file system in a file, and give it back whatever happens."""
    device = run("losetup", "--find", "--show", str(image))
    try:
        at.mkdir(exist_ok=True)
        run("mount", "-o", "data=ordered", device, str(at))
        try:
            yield at
        finally:
            run("umount", str(at))
    finally:
        run("losetup", "--detach", device)


@contextmanager
def server(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A busy server, which is ended whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crash.busy_server", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def cut(home: Path, seed: int) -> tuple[int, int, list[str]]:
    """Cut the power once.

    Returns:
        (acknowledged operations, invitations, what is wrong).
    """
    rng = random.Random(seed)
    image, copy, told = home / "image", home / "copy", home / "told"
    with image.open("wb") as file:
        file.truncate(IMAGE_MB << 20)
    run("mkfs.ext4", "-q", "-F", str(image))
    with mounted(image, home / "disk") as disk, server(disk / "calls") as process:
        lines = listen(process, told, rng.uniform(0.05, 1.5))
        shutil.copyfile(image, copy)
    acknowledged = read(lines)
    with mounted(copy, home / "after") as disk:
        wrong = asyncio.run(missing(disk / "calls", acknowledged))
    return len(lines), len(acknowledged), wrong


def listen(process: subprocess.Popen[str], told: Path, seconds: float) -> list[str]:
    """Read what a server says, and stop it so many seconds after it is open."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    said, until = b"", None
    while until is None or time.monotonic() < until:
        try:
            said += os.read(pipe, 1 << 20)
        except BlockingIOError:
            time.sleep(0.002)
        if until is None and said:
            until = time.monotonic() + seconds
    process.send_signal(signal.SIGSTOP)
    while not Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].startswith(" T"):
        time.sleep(0.001)
    try:
        while data := os.read(pipe, 1 << 20):
            said += data
    except BlockingIOError:
        pass
    told.write_bytes(said)
    return said.decode().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the power of a real file system.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("power_cut.py mounts a file system in a file, which takes root: use sudo")
    began, operations, invitations = time.monotonic(), 0, 0
    for seed in range(options.seed, options.seed + options.rounds):
        with tempfile.TemporaryDirectory(prefix="power-cut-") as home:
            said, known, wrong = cut(Path(home), seed)
        if wrong:
            raise SystemExit(f"seed {seed}: {len(wrong)} are lost\n" + "\n".join(wrong[:10]))
        operations, invitations = operations + said, invitations + known
        print(f"{seed}: {said} operations on {known} invitations, all there", flush=True)
    print(
        f"{options.rounds} power cuts in {time.monotonic() - began:.0f} s: {operations} "
        f"acknowledged operations on {invitations} invitations, none lost"
    )


if __name__ == "__main__":
    main()
