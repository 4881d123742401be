"""Where the tiles of the deep zoom lie, and who removes them."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path

import anyio
import pytest
from PIL import Image

from winnow_ground.serve.zoom import Pyramids


def test_what_killed_servers_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("killed", "running", "begun"):
        (tmp_path / f"winnow-zoom-{name}" / "0").mkdir(parents=True)
    (tmp_path / "winnow-zoom-killed" / "lock").touch()
    Image.new("L", (300, 300)).save(tmp_path / "strip.png")
    with (tmp_path / "winnow-zoom-running" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pyramids = Pyramids()
        made = anyio.run(pyramids.of, tmp_path / "strip.png")
    assert made.tile(0, 1, 1) is not None
    left = {path.name for path in tmp_path.glob("winnow-zoom-*")}
    assert {"winnow-zoom-running", "winnow-zoom-begun"} < left
    assert "winnow-zoom-killed" not in left
    pyramids.close()
    assert len(list(tmp_path.glob("winnow-zoom-*"))) == 2


def test_tiles_of_who_has_left_are_kept_in_mind(tmp_path: Path) -> None:
    Image.new("L", (300, 300)).save(tmp_path / "strip.png")
    pyramids = Pyramids()

    async def leave_and_come_back() -> tuple[Path, Path]:
        async with anyio.create_task_group() as group:
            group.start_soon(pyramids.of, tmp_path / "strip.png")
            await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        made = await pyramids.of(tmp_path / "strip.png")
        tile = made.tile(0, 0, 0)
        assert tile is not None
        return made.folder, tile

    folder, _ = anyio.run(leave_and_come_back)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    pyramids.close()
