"""Archives into the catalogue: the same as what flies, whatever is in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.running import winnow
from winnow_edge.downlink.contact import downlink
from winnow_edge.loop.flight import Flight
from winnow_edge.mission import load_mission
from winnow_edge.testing import painted_swath, write_probe
from winnow_ground.catalogue.add import add_reception
from winnow_ground.catalogue.schema import open_catalogue
from winnow_ground.receive import receive

TILE = (
    "tile.number, class.name, round(posterior, 4), detection, refused, out_of_place, drawn, asked,"
    " merged, line, sample, tile.lines, tile.samples, scale"
)


def picture(path: Path, seed: int = 0, lines: int = 160, samples: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(painted_swath(lines, samples, seed=seed, squares=8)).save(path)
    return path


@pytest.fixture
def mission(tmp_path: Path) -> Path:
    """A mission of the probe bundle at two scales, which draws and asks."""
    more = "[tiling]\nscales = [1, 2]\n[audit]\nshare = 0.1\n[ask]\nposterior = 0.3\nbytes = 9000\n"
    (tmp_path / "flown").mkdir()
    return write_probe(tmp_path / "flown", more)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four pictures, two of them in folders below."""
    names = ("a.png", "b.png", "deep/c.png", "deep/er/d.png")
    for seed, name in enumerate(names):
        picture(tmp_path / "archive" / name, seed)
    return tmp_path / "archive"


def built(archive: Path, catalogue: Path, mission: Path, *more: object) -> dict[str, Any]:
    done = winnow(
        "catalogue", "build", archive, "--mission", mission, "--to", catalogue, "--json",
        *(more or ("--workers", 1)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def rows(catalogue: Path, sql: str) -> list[tuple[Any, ...]]:
    db = open_catalogue(catalogue)
    found = db.execute(sql).fetchall()
    db.close()
    return found


def tiles(catalogue: Path, where: str = "1") -> list[tuple[Any, ...]]:
    return rows(
        catalogue,
        f"SELECT swath.name, {TILE} FROM tile JOIN swath ON swath.id = tile.swath"
        f" LEFT JOIN class ON class.id = tile.class WHERE {where} ORDER BY 1, 2",
    )


def test_an_archive_holds_what_would_have_come_down(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    built(archive, tmp_path / "built.db", mission, "--every-tile", "--workers", 1)
    with Flight(load_mission(mission), tmp_path / "store") as flight:
        for path in sorted(archive.rglob("*.png")):
            flight.run(path)
        downlink(flight.store, flight.mission, budget_bytes=10**8, out=tmp_path / "all.bin")
    add_reception(tmp_path / "down.db", receive([tmp_path / "all.bin"], tmp_path / "in"))
    here, there = tiles(tmp_path / "built.db"), tiles(tmp_path / "down.db")
    assert here == there and len(here) > 400
    told = "SELECT name, mission, instrument, lines, samples, tiles, screened, complete FROM swath"
    assert sorted(rows(tmp_path / "built.db", told)) == sorted(rows(tmp_path / "down.db", told))


def test_detections_audit_and_questions_are_kept(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    built(archive, tmp_path / "every.db", mission, "--every-tile", "--workers", 1)
    told = built(archive, tmp_path / "some.db", mission)
    chosen = "detection OR drawn OR asked"
    assert tiles(tmp_path / "some.db") == tiles(tmp_path / "every.db", chosen)
    kept = tiles(tmp_path / "some.db")
    assert told["tiles"] == len(kept) > told["detections"] == sum(row[4] for row in kept) > 0


def test_pictures_that_lack_tiles_are_completed_and_labels_stay(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    every, some = tmp_path / "every.db", tmp_path / "some.db"
    whole = built(archive, every, mission, "--every-tile", "--workers", 1)
    first = built(archive, some, mission)
    with closing(sqlite3.connect(some)) as db, db:
        db.execute(
            "INSERT INTO label (tile, person, at, answer) SELECT id, 'ann', '', 'nothing' FROM tile"
        )
    said = "SELECT tile, number, swath FROM label JOIN tile ON tile.id = tile ORDER BY 1"
    before = rows(some, said)
    again = built(archive, some, mission, "--every-tile", "--workers", 1)
    assert (again["added"], again["completed"], again["known"]) == (0, 4, 0)
    assert first["tiles"] + again["tiles"] == whole["tiles"]
    assert tiles(some) == tiles(every) and rows(some, said) == before != []
    # Nothing is done twice, and other settings do not mix with these.
    for path, known in ((every, 4), (some, 4)):
        last = built(archive, path, mission, "--every-tile", "--workers", 1)
        assert (last["added"], last["completed"], last["known"]) == (0, 0, known)


def test_pictures_are_named_so_that_they_are_found(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    picture(archive / "<b>'\"\n& .png", seed=9)
    built(archive, tmp_path / "mars.db", mission)
    found = rows(tmp_path / "mars.db", "SELECT folder, picture, name FROM swath")
    paths = {Path(folder, name) for folder, name, _ in found}
    assert paths == set(archive.rglob("*.png"))
    assert all("\n" not in name for *_, name in found)


def test_a_bad_picture_is_a_line_and_not_the_end(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    whole = (archive / "a.png").read_bytes()
    (archive / "cut.png").write_bytes(whole[: len(whole) // 2])
    (archive / "empty.jpg").write_bytes(b"")
    (archive / "page.jpg").write_text("<html>no such picture</html>")
    (archive / "notes.txt").write_text("of the observer")
    os.mkfifo(archive / "pipe.png")
    done = winnow(
        "catalogue", "build", archive, "--mission", mission, "--to", tmp_path / "mars.db",
        "--workers", 1,
    )  # fmt: skip
    assert done.returncode == 0
    assert "5 pictures classified" in done.stdout
    assert "note: cut.png: cut short" in done.stdout and "1 .txt" in done.stdout
    said = [line for line in done.stderr.splitlines() if line.startswith("winnow: ")]
    assert [line.split(":")[1].strip() for line in said] == ["empty.jpg", "page.jpg"]


def test_nothing_but_bad_pictures_is_an_error(mission: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    command = ("--mission", mission, "--to", tmp_path / "mars.db", "--workers", 1)
    done = winnow("catalogue", "build", tmp_path / "bad", *command)
    assert done.returncode == 3 and "no picture that can be classified" in done.stderr
    (tmp_path / "bad" / "a.png").unlink()
    for folder, words in ((tmp_path / "bad", "holds no picture"), (tmp_path / "x", "not there")):
        done = winnow("catalogue", "build", folder, *command)
        assert done.returncode == 3 and words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_the_same_again_adds_what_is_new(archive: Path, mission: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mars.db"
    assert built(archive, catalogue, mission)["added"] == 4
    before = tiles(catalogue)
    picture(archive / "new.png", seed=5)
    shutil.copy(archive / "a.png", archive / "deep" / "copy.png")
    os.utime(archive / "b.png", (1, 1))
    told = built(archive, catalogue, mission)
    assert (told["added"], told["known"], told["copies"]) == (1, 4, 1)
    assert [row for row in tiles(catalogue) if row[0] != "new.png"] == before


def test_an_archive_that_moved_keeps_its_rows(archive: Path, mission: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mars.db"
    built(archive, catalogue, mission)
    archive.rename(tmp_path / "moved")
    told = built(tmp_path / "moved", catalogue, mission)
    assert (told["added"], told["known"], told["moved"]) == (0, 4, 4)
    (folder,) = {row[0] for row in rows(catalogue, "SELECT folder FROM swath")}
    assert folder == str((tmp_path / "moved").resolve())


def test_a_picture_that_changed_is_another(archive: Path, mission: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mars.db"
    built(archive, catalogue, mission)
    picture(archive / "a.png", seed=77)
    assert built(archive, catalogue, mission)["added"] == 1
    found = rows(catalogue, "SELECT picture FROM swath WHERE name = 'a.png' ORDER BY id")
    assert found == [(None,), ("a.png",)]  # nothing is drawn over the new one that is not its own


def test_other_settings_are_said_and_another_bundle_stands_beside(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    catalogue = tmp_path / "mars.db"
    built(archive, catalogue, mission)
    text = mission.read_text()
    mission.write_text(text.replace("scales = [1, 2]", "scales = [1]"))
    told = built(archive, catalogue, mission)
    assert (told["added"], told["otherwise"]) == (0, 4)
    # Another net under the same name.
    (tmp_path / "other").mkdir()
    other = write_probe(tmp_path / "other", side=32)
    assert built(archive, catalogue, other)["added"] == 4
    names = [row[0] for row in rows(catalogue, "SELECT name FROM bundle ORDER BY id")]
    assert names[0] == "probe" and names[1].startswith("probe ") and len(names) == 2


def test_a_catalogue_that_is_none_stays(archive: Path, mission: Path, tmp_path: Path) -> None:
    (tmp_path / "mars.db").write_text("my notes\n" * 100)
    done = winnow("catalogue", "build", archive, "--mission", mission, "--to", tmp_path / "mars.db")
    assert done.returncode == 3 and "is no catalogue" in done.stderr
    assert (tmp_path / "mars.db").read_text() == "my notes\n" * 100


def test_a_build_that_was_killed_goes_on(mission: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    archive, catalogue = tmp_path / "archive", tmp_path / "mars.db"
    for seed in range(24):
        picture(archive / f"{seed:02d}.png", seed)
    command = [
        str(Path(sys.executable).parent / "winnow"), "catalogue", "build", str(archive),
        "--mission", str(mission), "--to", str(catalogue), "--workers", "2",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not _some_are_in(catalogue):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    cut = rows(catalogue, "SELECT name FROM swath")
    assert cut
    told = built(archive, catalogue, mission)
    assert told["added"] + told["known"] == 24 and told["known"] == len(cut)
    built(archive, tmp_path / "whole.db", mission)
    assert tiles(catalogue) == tiles(tmp_path / "whole.db")


def _some_are_in(catalogue: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{catalogue.as_uri()}?mode=ro", uri=True)) as db, db:
            return bool(db.execute("SELECT 1 FROM swath LIMIT 1").fetchone())
    except sqlite3.Error:
        return False


def test_real_strips_go_in(mars_data: Path, tmp_path: Path) -> None:
    strip = mars_data / "swaths" / "ESP_072719_1970_RED.browse.jpg"
    if not strip.is_file():
        pytest.skip("that strip is not in the Mars data folder")
    with Image.open(strip) as image:
        part = np.asarray(image.convert("L"))[:512]
    (tmp_path / "strips").mkdir()
    Image.fromarray(part).save(tmp_path / "strips" / "ESP_072719_1970.png")
    done = winnow(
        "catalogue", "build", tmp_path / "strips", "--to", tmp_path / "mars.db", "--workers", 1
    )
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "mars.db", "SELECT class, count(*) FROM detection GROUP BY class")
    assert dict(found)["crater"] > 5


def test_rows_whose_words_are_damaged_are_no_traceback(
    archive: Path, mission: Path, tmp_path: Path
) -> None:
    built(archive, tmp_path / "mars.db", mission)
    before = tiles(tmp_path / "mars.db")
    with closing(open_catalogue(tmp_path / "mars.db", write=True)) as db:
        for number, about in enumerate(("{", "[1]", "[" * 100_000), start=1):
            db.execute("UPDATE swath SET about = ? WHERE id = ?", (about, number))
    told = built(archive, tmp_path / "mars.db", mission)
    assert told["known"] == 4  # by the digests of the pictures
    assert tiles(tmp_path / "mars.db") == before
