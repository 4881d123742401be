"""500 tiles labelled by scripted clicks and keys in a real browser, the server killed in between.

    python -m benchmarks.speed.labelling [--short] [--json]

A person goes through pages of 60 tiles: clicks on what is wrong, keys for a few, submits the page;
then through a second set one by one, by keys. `kill -9` ends the server in the middle of every
other page, and a second later it is started again. At the end every answer that the script gave
must be in the catalogue, once, and no other. Needs Chromium and Playwright (extra `test`); the
clicks have no pauses, so that the time is the machine's alone. The short form has 80 tiles.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import arguments, report, skip
from winnow_ground.catalogue.schema import changes, create, open_catalogue
from winnow_ground.labelling.sets import Wanted, make_set

TILES, SIDE, PAGE = 500, 128, 60
CLASSES = ("crater", "dark dune", "slope streak", "spider")
DOWN_S = 1.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_NOTHING_WAITS = "() => !Object.keys(localStorage).some((key) => key.startsWith('winnow-answer:'))"


class Server:
    """`winnow serve`, killed and started again at the same port."""

    def __init__(self, catalogue: Path) -> None:
        self._catalogue, self._port, self.kills = catalogue, "0", 0
        self._start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _start(self) -> None:
        winnow = str(Path(sys.executable).parent / "winnow")
        command = [winnow, "serve", str(self._catalogue), "--port", self._port, "--person", "ann"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        found = re.search(r":(\d+)/", self._process.stdout.readline())
        assert found, "the server did not start"
        self._port = found[1]

    def kill(self) -> threading.Thread:
        """End it at once; the thread that starts it again."""
        self._process.kill()
        self._process.communicate()
        self.kills += 1

        def again() -> None:
            time.sleep(DOWN_S)
            self._start()

        thread = threading.Thread(target=again)
        thread.start()
        return thread

    def end(self) -> None:
        self._process.terminate()
        self._process.communicate()


def fill(folder: Path, tiles: int) -> Path:
    """A catalogue of so many tiles with pictures, all in two sets."""
    rng = np.random.default_rng(0)
    path = folder / "catalogue.db"
    with closing(create(path)) as db, changes(db, path) as number:
        db.executemany("INSERT INTO class (name) VALUES (?)", [(name,) for name in CLASSES])
        db.execute(
            "INSERT INTO swath (name, sha256, folder) VALUES ('bench', 'f00', ?)", (str(folder),)
        )
        for tile in range(tiles):
            pixels = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
            Image.fromarray(pixels).save(folder / f"{tile}.jpg")
            db.execute(
                "INSERT INTO tile (swath, number, class, posterior, detection, line, sample, lines,"
                " samples, have, file, changed) VALUES (1, ?, 1, .9, 1, ?, 0, 128, 128, 1, ?, ?)",
                (tile, tile * SIDE, f"{tile}.jpg", number),
            )
        ids = [row[0] for row in db.execute("SELECT id FROM tile")]
        for name in ("pages", "one by one"):
            make_set(db, Wanted(name, ids, "crater", PAGE, person="bench"))
    return path


def by_pages(page: Any, server: Server, tiles: int) -> dict[int, str]:
    """Label the first set page by page; what was said."""
    said: dict[int, str] = {}
    for number in range(-(-tiles // PAGE)):
        _reach(page, f"{server.address}/label/1?page={number}")
        order = _order(page)
        down = None
        for at, tile in enumerate(order):
            said[tile] = "crater"
            if at == len(order) // 2 and number % 2 == 0:
                down = server.kill()
            if at % 7 == 3:
                page.click(f"#tile-{tile}")
                said[tile] = "nothing"
            elif at % 11 == 5:
                page.focus(f"#tile-{tile}")
                page.keyboard.press("2")
                said[tile] = "dark dune"
        page.keyboard.press("s")
        if down is not None:
            down.join()
        page.wait_for_url(re.compile(rf"page={number + 1}$|/label$"))
    return said


def one_by_one(page: Any, server: Server, tiles: int) -> dict[int, str]:
    """Label the second set tile by tile; what was said."""
    said: dict[int, str] = {}
    for number in range(-(-tiles // PAGE)):
        _reach(page, f"{server.address}/label/2?page={number}&one=1")
        order, down = _order(page), None
        for at, tile in enumerate(order):
            if at == len(order) // 2 and number % 2 == 0:
                down = server.kill()
            what, key = [("crater", "1"), ("nothing", "0"), ("unsure", "u")][at % 5 % 3]
            page.keyboard.press(key)
            said[tile] = what
        if down is not None:
            down.join()
        page.wait_for_url(re.compile(rf"page={number + 1}|/label$"))
    return said


def _reach(page: Any, address: str) -> None:
    """Go there, unless the page before has led there by itself."""
    if page.url != address:
        page.goto(address)
    page.wait_for_selector("button.tile", state="attached")


def _order(page: Any) -> list[int]:
    found = page.eval_on_selector_all("button.tile", "all => all.map((one) => one.id.slice(5))")
    return [int(tile) for tile in found]


def judged(path: Path, set_id: int, said: dict[int, str]) -> tuple[int, int]:
    """Answers that are not in the catalogue as they were given, and those that are there twice."""
    with closing(open_catalogue(path)) as db:
        rows = db.execute(
            "SELECT tile, coalesce(name, answer) FROM label LEFT JOIN class"
            " ON class.id = label.class WHERE label_set = ? ORDER BY label.id",
            (set_id,),
        ).fetchall()
    kept = dict(rows)
    return sum(kept.get(tile) != what for tile, what in said.items()), len(rows) - len(kept)


def main() -> int:
    args = arguments(__doc__).parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip("Playwright is not installed")
    tiles = 80 if args.short else TILES
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, _NAMES)), None)
        if found is None and not Path(driver.chromium.executable_path).is_file():
            skip("no Chromium")
        path = fill(Path(folder), tiles)
        server = Server(path)
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        for set_id, (name, way) in enumerate(
            {"pages": by_pages, "one by one": one_by_one}.items(), 1
        ):
            before, started = server.kills, time.perf_counter()
            said = way(page, server, tiles)
            page.wait_for_function(_NOTHING_WAITS)
            seconds = time.perf_counter() - started
            lost, twice = judged(path, set_id, said)
            rows.append({"way": name, "tiles": len(said), "s": seconds,
                         "kills": server.kills - before, "lost": lost, "twice": twice})  # fmt: skip
        browser.close()
        server.end()
    notes = [
        f"Pages of {PAGE}; every kill leaves the server away for {DOWN_S:.0f} s and its start."
    ]
    report(args, rows, notes)
    return int(any(row["lost"] or row["twice"] or row["tiles"] != tiles for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
