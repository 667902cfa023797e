"""Build a copy of the working tree in another way, so that the tree's own modules stay as they are.

    .venv/bin/python scripts/variant.py sanitize

makes build/variants/sanitize, compiled with PYSIGNAL_BUILD=sanitize, and prints that folder: what
sanitizers and line coverage run in. Only what differs is copied, so a second call builds only that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ROOT / "build" / "variants"


def copy_tree(folder: Path) -> None:
    """Make folder hold the files of the working tree: the tracked, and the new that git sees.

    What a build left in the folder stays; a source that is gone from the tree goes there too.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    wanted = {name for name in listed if name and os.path.lexists(ROOT / name)}
    folder.mkdir(parents=True, exist_ok=True)
    made_from = folder / ".made-from"
    if made_from.exists():
        for name in set(made_from.read_text().split("\n")) - wanted - {""}:
            (folder / name).unlink(missing_ok=True)
    for name in wanted:
        source, target = ROOT / name, folder / name
        if contents(source) != contents(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            # With the time of now: what was built from the older file is older than the newer one,
            # also where that was saved while the build went on.
            shutil.copyfile(source, target, follow_symlinks=False)
            shutil.copymode(source, target, follow_symlinks=False)
    made_from.write_text("\n".join(sorted(wanted)))


def contents(path: Path) -> bytes | str | None:
    """What a file holds, or where a link leads; None where there is neither."""
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else None


def compile_tree(folder: Path, mode: str, **environment: str) -> None:
    """Compile the modules in a copy of the tree.

    Args:
        folder: the copy.
        mode: what PYSIGNAL_BUILD is set to.
        environment: further variables, such as CFLAGS.

    Raises:
        SystemExit: it does not compile; what the compiler said has been printed.
    """
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", "2"],
        cwd=folder, env=os.environ | {"PYSIGNAL_BUILD": mode} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise SystemExit(f"{folder}: the build as {mode} failed")


def main() -> None:
    """Make the variant that the command line names, and print its folder."""
    mode = sys.argv[1]
    folder = VARIANTS / mode
    copy_tree(folder)
    compile_tree(folder, mode)
    print(folder)


if __name__ == "__main__":
    main()
