"""Pictures are decoded in this process or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from winnow_base.pictures import open_picture

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
READERS = {
    "tile": "from winnow_train.tiles import decode; decode(path, 1)",
    "report": (
        "from winnow_ground.swath_pixels import mosaic\n"
        "from winnow_edge.products.kinds import Box\n"
        "_, damaged = mosaic(64, 64, [(Box(0, 0, 64, 64), path)])\n"
        "assert not damaged, 'cannot identify image file'"
    ),
    "any": "from winnow_base.pictures import open_picture; open_picture(path).load()",
}


@pytest.mark.parametrize("reader", READERS)
def test_postscript_named_a_jpeg_reaches_no_other_program(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "images" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(POSTSCRIPT)
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    code = f"import sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\n{READERS[reader]}"
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot identify image file" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.pgm"])
def test_what_data_sets_come_in_is_read(name: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 77, np.uint8)).save(tmp_path / name)
    with open_picture(tmp_path / name) as picture:
        assert picture.size == (6, 4)
        assert np.asarray(picture.convert("L"))[2, 3] == 77


def test_a_bomb_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 60000 60000 255\n")
    with pytest.raises(ValueError, match="decompression bomb"):
        open_picture(path)
