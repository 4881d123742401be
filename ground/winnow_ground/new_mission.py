"""`winnow new mission`: a mission file for a bundle, with a reason beside every key."""

from __future__ import annotations

import json
import os
from pathlib import Path

from winnow_edge.bundle import bundles_folder, find_bundle, open_bundle
from winnow_edge.manifest import Manifest
from winnow_edge.mission import parse_mission


def write_mission(bundle: str, out: Path | None, scales: tuple[int, ...], name: str = "") -> str:
    """The mission file of a bundle (a file, or a shipped name) as TOML, checked.

    A bundle that is a file is named relative to `out`, where the mission file will lie.
    Raises BundleError for no bundle.
    """
    path = find_bundle(bundle)
    manifest = open_bundle(path).manifest
    shipped = path.parent == bundles_folder()
    place = out.parent if out is not None else Path()
    named = path.stem if shipped else Path(os.path.relpath(path, place)).as_posix()
    own = name or (out.stem if out is not None else path.stem)
    side = manifest.input.width
    text = f"""# Mission file made by `winnow new mission`. docs/mission.md lists all keys;
# unknown ones are refused with their line.
#
#   winnow-edge run THIS PICTURE... --store store
#   winnow-edge downlink THIS --store store --bytes 200000 --out pass-1.packets
name = {_quoted(own)}

[instrument.camera]
bundle = {_quoted(named)}  # {"shipped" if shipped else "relative to this file"}
nodata = 0        # the value of pixels that carry no image
# samples = 2048  # the width of raw lines from a pipe; pictures know theirs
# bits = 16       # raw samples of 8 or 16 bits
# frame = true    # every picture is shown to the net whole, not in tiles

# Tiles are {side} x {side}, the bundle's input. At scale 2 a tile covers twice as much, box-binned.
[tiling]
hop = {max(1, side // 2)}         # half a tile: what one tile cuts in two, the next shows whole
scales = {list(scales)}

[screening]
nodata_max = 0.5  # tiles with more nodata are not shown to the net

{_classes(manifest)}
[ranking]
policy = "utility-per-byte"  # or fifo, confidence, diversity; see docs/ranking.md

[store]
quota_mb = 256    # the least useful is evicted first

[link]
rate_bps = 128000
packet_bytes = 1024

# What `winnow simulate THIS` plays; docs/missions.md, docs/contacts.md and docs/simulate.md.
# [simulation]
# plan = "contacts.csv"          # start,end,bits_per_s in a line each; or ION, HDTN, an orbit
# swaths = ["*.png"]             # pictures; NAME.truth.json beside each is the truth
# policies = ["fifo", "oracle"]  # played beside this one
#
# [simulation.schedule]
# every_s = 3600                 # a swath an hour; without it one follows the other
#
# [simulation.scenes]
# count = 4                      # rendered strips of Mars instead of pictures
#
# [simulation.replay]
# tiles = "DATA"                 # or labelled tiles, DATA/val/CLASS/*, laid out as swaths
# share = {{{_share(manifest)}}}
#
# [simulation.board]
# profile = "pi-4"               # how fast tiles are computed, with how much energy
#
# [simulation.power]
# battery_wh = 20
# solar_w = 6
# bus_w = 1.5
"""
    parse_mission(text)
    return text


def _classes(manifest: Manifest) -> str:
    """A table per class that can be a detection, with its threshold and figures as comments."""
    figures = manifest.metrics.get("thresholds", {}).get("by_class", {})
    split = _comment(str(manifest.metrics.get("split", "val")))
    background = [c for c in manifest.classes if c not in manifest.thresholds]
    lines = ["# What a feature is worth, in units of your own. Thresholds are the bundle's."]
    if background:
        lines.append(f"# Background, never a detection: {_comment(', '.join(background))}.")
    for name in manifest.classes:
        if name in background:
            continue
        row = figures.get(name)
        said = (
            f"; {split}: precision {row['precision']:.2f}, recall {row['recall']:.2f}"
            if row and row.get("precision") is not None and row.get("recall") is not None
            else ""
        )
        lines += [
            f"[class.{_quoted(name)}]",
            "utility = 1.0",
            f"# threshold = {manifest.thresholds[name]:g}  # the bundle's own{said}",
        ]
    return "\n".join(lines) + "\n"


def _share(manifest: Manifest) -> str:
    """A share for the first class that can be a detection."""
    name = next((c for c in manifest.classes if c in manifest.thresholds), manifest.classes[0])
    return f"{_quoted(name)} = 0.01"


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _quoted(text: str) -> str:
    """A basic string of TOML; JSON escapes all but DEL alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
