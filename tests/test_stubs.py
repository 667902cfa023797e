"""The stubs say what the compiled modules are: each name, each signature, each default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pysignal", "pysignal/journal", "pysignal/protocol")  # the core is asked for as a whole


def test_stubs_match_the_compiled_modules() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "--mypy-config-file", "pyproject.toml"]
    compiled = [
        f"{package.replace('/', '.')}.{source.stem}"
        for package in PACKAGES
        for source in (ROOT / package).glob("*.pyx")
    ]
    result = subprocess.run(
        [*command, "pysignal.engine", *compiled],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_compiled_module_has_a_stub_and_a_header() -> None:
    folders = [ROOT / package for package in (*PACKAGES, "pysignal/engine")]
    modules = [module for folder in folders for module in folder.glob("*.pyx")]
    assert {module.parent for module in modules} == set(folders)
    for module in modules:
        assert module.with_suffix(".pyi").is_file()
        assert module.with_suffix(".pxd").is_file()
