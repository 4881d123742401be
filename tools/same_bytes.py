"""Two versions of Winnow over the same swaths: are products, records and packets the same bytes?

    python tools/same_bytes.py BEFORE AFTER --data DATA --out WORK

BEFORE and AFTER are checkouts with an environment in `.venv` (`make .venv/.all`). Both fly the
missions and the bundles of BEFORE over the strips of DATA/swaths, over two rendered scenes and over
the rover's val pictures. Compared are every product with its data, what the store says of a swath,
the packets of two contacts under each policy with the acknowledgement between them, and the packets
that AFTER makes of a store that BEFORE wrote. The golden vectors of all bundles of BEFORE must
agree in AFTER. Exits with 1 and names the difference where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STORE_ID = 0x57_49_4E_4E
"""Stores number themselves at random; both get this number, or no packet would be equal."""
POLICIES = ("fifo", "confidence", "utility-per-byte", "diversity")
CONTACT_BYTES = 60_000
PRODUCT = "swath, kind, tile, class, posterior, detection, state, bytes, sketch, data"
SWATH = "name, samples, classes, bundle, fingerprint, info, next_tile, next_line, summary"


class Side:
    """One checkout and the folder that its stores and packets go to."""

    def __init__(self, name: str, tree: Path, out: Path) -> None:
        self.name, self.tree, self.out = name, tree, out / name
        self.out.mkdir(parents=True, exist_ok=True)

    def call(self, command: str, *arguments: object) -> str:
        """Standard output of a command of this checkout; ends the comparison where it fails."""
        words = [str(self.tree / ".venv/bin" / command), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.out)
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(words)[:300]}\n{done.stderr.strip()}")
        return done.stdout


def fly(side: Side, case: str, mission: Path, swaths: Sequence[Path], more: Sequence[str]) -> Path:
    """Run a mission over swaths into a new store; the store's folder."""
    store = side.out / case
    side.call("winnow-edge", "run", mission, *swaths, "--store", store, "--json", *more)
    with contextlib.closing(sqlite3.connect(store / "store.db")) as db, db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'store_id'", (STORE_ID,))
    return store


def digest_of(store: Path) -> tuple[str, int]:
    """SHA-256 over every product and swath of a store, and the number of products."""
    digest = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(store / "store.db")) as db, db:
        products = 0
        for row in db.execute(f"SELECT {PRODUCT} FROM product ORDER BY id"):
            digest.update(repr(row).encode())
            products += 1
        for row in db.execute(f"SELECT {SWATH} FROM swath ORDER BY id"):
            digest.update(repr(row).encode())
    return digest.hexdigest(), products


def packets_of(side: Side, store: Path, mission: Path, policy: str) -> list[bytes]:
    """The packets of two contacts of a copy of the store; the second acknowledges the first."""
    work = side.out / f"{store.name}-{policy}"
    shutil.copytree(store, work)
    contacts: list[bytes] = []
    acknowledged: list[object] = []
    for number in (1, 2):
        file, received = work / f"{number}.packets", work / "received"
        side.call(
            "winnow-edge", "downlink", mission, "--store", work, "--bytes", CONTACT_BYTES,
            "--policy", policy, "--out", file, *acknowledged,
        )  # fmt: skip
        contacts.append(file.read_bytes())
        if not contacts[-1]:
            break  # all that the store holds came down before
        side.call("winnow", "receive", file, "--out", received)
        acknowledged = ["--ack", received / "ack.json"]
    shutil.rmtree(work)
    return contacts


def compare(before: Side, after: Side, case: str, mission: Path, swaths: Sequence[Path]) -> int:
    """Fly one case on both sides; how many differences were found."""
    stores = [fly(side, case, mission, swaths, ()) for side in (before, after)]
    (old, count), (new, _) = map(digest_of, stores)
    faults = int(old != new)
    print(f"{case}: {count:,} products of {len(swaths)} swaths {'DIFFER' if faults else 'agree'}")
    for policy in POLICIES:
        packets = [
            packets_of(s, p, mission, policy) for s, p in zip((before, after), stores, strict=True)
        ]
        packets.append(packets_of(after, stores[0], mission, policy))
        same = packets[0] == packets[1] == packets[2]
        faults += not same
        size = sum(map(len, packets[0]))
        print(f"  {policy}: {size:,} bytes of packets {'agree' if same else 'DIFFER'}", flush=True)
    return faults


def missions_of(tree: Path, out: Path) -> dict[str, Path]:
    """The reference missions with the bundles of `tree` by their paths."""
    found = {}
    for source in sorted((tree / "missions").glob("*.toml")):
        bundles = tree / "edge/winnow_edge/bundles"
        text = re.sub(
            r'(?m)^bundle = "([\w-]+)"', rf'bundle = "{bundles}/\1.winnow"', source.read_text()
        )
        found[source.stem] = out / source.name
        found[source.stem].write_text(text)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the Mars data")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in, made anew")
    parser.add_argument("--pictures", type=int, default=0, help="rover pictures; 0: all of val")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} is there already")
    args.out.mkdir(parents=True)
    out = args.out.resolve()
    before, after = (
        Side(n, t.resolve(), out) for n, t in (("before", args.before), ("after", args.after))
    )
    missions = missions_of(before.tree, out)
    before.call("winnow", "scene", "--out", out / "scenes", "--seed", 1, "--count", 2)
    strips = sorted((args.data.resolve() / "swaths").glob("*.jpg"))
    scenes = sorted((out / "scenes").glob("*.png"))
    listing = next((args.data.resolve() / "msl-images").glob("val*.txt"))
    names = [line.split()[0] for line in listing.read_text().splitlines()]
    pictures = [listing.parent / name for name in names][: args.pictures or None]
    faults = 0
    for case, mission, swaths in (
        ("strips", "mars-browse", strips),
        ("scenes", "mars-browse", scenes),
        ("crater-dune", "crater-dune", scenes),
        ("ice-patches", "ice-patches", strips[:2]),
        ("rover", "msl-by-instrument", pictures),
    ):
        faults += compare(before, after, case, missions[mission], swaths)
    for bundle in sorted((before.tree / "edge/winnow_edge/bundles").glob("*.winnow")):
        said = [
            json.loads(s.call("winnow-edge", "info", bundle, "--json")) for s in (before, after)
        ]
        after.call("winnow-edge", "doctor", bundle)
        said[1] = {key: said[1].get(key) for key in said[0]}  # later keys are no difference
        faults += said[0] != said[1]
        print(
            f"{bundle.stem}: golden vectors agree,"
            f" info {'agrees' if said[0] == said[1] else 'DIFFERS'}"
        )
    print("all the same" if not faults else f"{faults} differences")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
