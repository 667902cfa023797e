"""The stubs say what the compiled modules are: each name, each signature, each default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_stubs_match_the_compiled_modules() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "--mypy-config-file", "pyproject.toml"]
    compiled = [f"pysignal.{source.stem}" for source in (ROOT / "pysignal").glob("*.pyx")]
    result = subprocess.run(
        [*command, "pysignal.engine", *compiled],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_compiled_module_has_a_stub_and_a_header() -> None:
    modules = [*(ROOT / "pysignal").glob("*.pyx"), *(ROOT / "pysignal" / "engine").glob("*.pyx")]
    assert modules
    for module in modules:
        assert module.with_suffix(".pyi").is_file()
        assert module.with_suffix(".pxd").is_file()
