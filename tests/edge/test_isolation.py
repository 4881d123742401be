"""The edge stands alone: a fresh interpreter that loads all of it loads nothing of the ground."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import winnow_edge
for module in pkgutil.walk_packages(winnow_edge.__path__, "winnow_edge."):
    importlib.import_module(module.name)
roots = {name.partition(".")[0] for name in sys.modules}
print(" ".join(sorted(roots)))
"""
FOREIGN = {
    "keras", "tensorflow", "torch", "jax", "onnx", "onnxruntime", "sklearn", "scipy", "matplotlib",
    "typer", "rich", "winnow_base", "winnow_train", "winnow_convert", "winnow_ground", "winnow_cli",
}  # fmt: skip


def test_importing_the_whole_edge_loads_nothing_of_the_ground() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert {"winnow_edge", "numpy", "PIL"} <= loaded
    assert not loaded & FOREIGN


def test_help_of_both_commands_loads_no_tensorflow() -> None:
    for module in ("winnow_edge.cli", "winnow_cli.app"):
        seen = "sorted(set(sys.modules) & {'tensorflow', 'keras', 'matplotlib'})"
        program = f"import sys, {module}; print({seen})"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"
