"""`edgetpu_compiler`, for which a script in PATH stands in that prints what version 16.0 prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from winnow_base.errors import MissingExtraError, ModelError
from winnow_cli import app
from winnow_convert.convert import Converted, write
from winnow_convert.edgetpu import compile_model, parse_log
from winnow_convert.extras import compile_for_edgetpu
from winnow_edge.bundle import open_bundle

LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 1524 ms.

Input model: model.tflite
Input size: 4.24MiB
Output model: model_edgetpu.tflite
Output size: 5.57MiB
On-chip memory used for caching model parameters: 4.21MiB
On-chip memory remaining for caching model parameters: 3.29MiB
Off-chip memory used for streaming uncached model parameters: 1.50KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 15
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of \
the model will instead run on the CPU, which is slower. If possible, consider updating your model \
to use only operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 3
Number of operations that will run on CPU: 12

Operator                       Count      Status

FULLY_CONNECTED                9          Operation version not supported
CONV_2D                        1          Mapped to Edge TPU
CONV_2D                        3          More than one subgraph is not supported
RESHAPE                        2          Mapped to Edge TPU
Compilation child process completed within timeout period.
Compilation succeeded!
"""
COMPLETE = """Edge TPU Compiler version 16.0.384591198

Model compiled successfully in 102 ms.

On-chip memory used for caching model parameters: 2.50KiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 3

Operator                       Count      Status

CONV_2D                        2          Mapped to Edge TPU
MEAN                           1          Mapped to Edge TPU
"""
REFUSED = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'
Compilation failed: Model failed in Tflite interpreter. Please ensure model can be loaded.
Compilation failed!
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a compiler in PATH that says `log` and, if `works`, writes its input, marked."""

    def put(log: str, works: bool = True) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "log").write_text(log)
        script = folder / "edgetpu_compiler"
        script.write_text(
            f"""#!/bin/sh
[ "$1 $2" = "--show_operations --out_dir" ] || exit 64
cat {folder}/log
{"" if works else "exit 1"}
{{ cat "$4"; printf compiled; }} > "$3/model_edgetpu.tflite"
"""
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return put


def test_the_log_is_read() -> None:
    for strange in ("12.00KB", "1.5.2MiB", "much"):
        text = f"On-chip memory used for caching model parameters: {strange}"
        assert parse_log(text).cached_bytes == 0
    log = parse_log(LOG)
    assert log.version == "16.0.384591198"
    assert (log.mapped, log.total) == (3, 15)
    assert log.refused == {
        ("FULLY_CONNECTED", "Operation version not supported"): 9,
        ("CONV_2D", "More than one subgraph is not supported"): 3,
    }
    assert log.cached_bytes == round(4.21 * 2**20)
    assert log.streamed_bytes == 1536


def test_where_it_is_installed_its_model_flies_along(
    install: Install, converted: Converted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compile_for_edgetpu(converted, None) is None
    install(COMPLETE)
    compiled = compile_for_edgetpu(converted, None)
    assert compiled is not None
    assert compiled.model == converted.int8.flatbuffer + b"compiled"
    assert compiled.log.mapped == compiled.log.total == 3
    path = write(converted, tmp_path / "tiny.winnow", compiled.model).path
    assert open_bundle(path).model_edgetpu == compiled.model
    assert compile_for_edgetpu(converted, False) is None
    assert capsys.readouterr().err == ""


def test_a_compiler_that_fails_costs_the_bundle_nothing_unless_it_was_asked_for(
    install: Install, converted: Converted, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingExtraError, match="edgetpu_compiler is not installed"):
        compile_for_edgetpu(converted, True)
    install(REFUSED, works=False)
    assert compile_for_edgetpu(converted, None) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "does not take tiny: ERROR: Didn't find op for builtin opcode" in said
    with pytest.raises(ModelError, match="version '12'"):
        compile_for_edgetpu(converted, True)
    install("Edge TPU Compiler version 17")
    with pytest.raises(ModelError, match="its log names no ops"):
        compile_model(b"", "tiny")


def test_the_command_calls_it_and_reports_what_it_said(
    install: Install,
    run_folder: Path,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(LOG)
    out = tmp_path / "tiny.winnow"
    command = ["winnow", "convert", str(run_folder), "--data", str(data_root), "--out", str(out)]
    limits = ["--max-accuracy-loss", "0.1", "--max-recall-loss", "0.1", "--min-agreement", "0.9",
              "--min-rank-correlation", "0.5", "--calibration", "48"]  # fmt: skip
    monkeypatch.setattr("sys.argv", [*command, *limits, "--edgetpu", "--json"])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["edgetpu_compiler"]["mapped"] == 3
    assert report["edgetpu_compiler"]["refused"][0]["name"] == "FULLY_CONNECTED"
    assert open_bundle(out).model_edgetpu is not None
