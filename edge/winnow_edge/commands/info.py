"""`winnow-edge info BUNDLE`: what a bundle is, after verifying it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from typing import Any

from winnow_edge.bundle import Bundle, find_bundle, open_bundle
from winnow_edge.files import printable
from winnow_edge.manifest import Manifest


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `info` command."""
    parser = subparsers.add_parser(
        "info",
        help="verify a bundle and describe it",
        description="Verify a bundle (archive, format version, every digest) and print its "
        "classes, input, thresholds, figures and licence. `winnow-edge doctor BUNDLE` also runs "
        "its golden self-test.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="a .winnow file or a shipped name")
    parser.add_argument("--json", action="store_true", help="print the whole manifest as JSON")
    parser.add_argument("--card", action="store_true", help="print the model card (Markdown)")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the bundle; raises BundleError if it is none or is damaged."""
    bundle = open_bundle(find_bundle(args.bundle))
    if args.json:
        print(json.dumps(describe(bundle), indent=1, ensure_ascii=False))
    elif args.card:
        print("\n".join(map(printable, bundle.card.splitlines())))
    else:
        print("\n".join(map(printable, _summary(bundle))))
    return 0


def describe(bundle: Bundle) -> dict[str, Any]:
    """The manifest and what is known of the file, as plain values."""
    return {
        "path": str(bundle.path),
        "bundle_sha256": bundle.sha256,
        "bytes": bundle.path.stat().st_size,
        "model_bytes": len(bundle.model),
        "golden_tiles": len(bundle.golden.tiles),
        "golden_runtimes": sorted(bundle.golden.logits),
        "edgetpu_model": bundle.model_edgetpu is not None,
        "verifier_bytes": len(bundle.verifier.model) if bundle.verifier is not None else None,
        **dataclasses.asdict(bundle.manifest),
    }


def _summary(bundle: Bundle) -> list[str]:
    manifest, spec = bundle.manifest, bundle.manifest.input
    colour = "grey" if spec.channels == 1 else "RGB"
    exact = "exact" if spec.exact_pixels else f"scale {spec.scale:g}, zero {spec.zero_point}"
    split = str(manifest.metrics.get("split"))
    crossed = split.startswith("cross-validated")
    judged = "out-of-fold" if crossed else "val"
    lines = [
        f"{manifest.name}  {bundle.path}",
        f"  verified   format {manifest.format_version}, sha256 {bundle.sha256}",
        f"  size       {bundle.path.stat().st_size:,} bytes, model {len(bundle.model):,}",
        f"  input      {spec.height} x {spec.width} {colour}, int8 pixels {exact}",
        f"  output     {manifest.head} over {len(manifest.classes)} classes, "
        f"temperature {manifest.temperature:.3f}",
        "  views      "
        + (
            f"the mirror image too where the best posterior is under {manifest.borderline:g}"
            if manifest.borderline
            else "one"
        ),
        f"  self-test  {len(bundle.golden.tiles)} golden tiles for "
        f"{', '.join(sorted(bundle.golden.logits)) or 'no runtime'}",
        f"  classes    (a tile is a detection from the threshold on; {judged} figures by best "
        "class, with 95 % intervals)",
    ]
    lines += _classes(manifest)
    lines += [
        f"  {kind:9}  {figures} on {manifest.metrics.get('n')} tiles"
        f"{', ' if crossed else ' of '}{split}"
        for kind in ("float", "int8")
        if (figures := _figures(manifest, kind))
    ]
    if bundle.verifier is not None:
        lines += _second_stage(bundle.verifier)
    if dataset := manifest.training.get("dataset"):
        lines.append(f"  trained    on {dataset}, split by source")
    lines.append(f"  licence    {manifest.licence or 'not stated'}")
    if manifest.attribution:
        lines.append(f"  data       {manifest.attribution}")
    return lines


def _figures(manifest: Manifest, kind: str) -> str | None:
    """Accuracy and macro-F1 of the float or int8 net; None where they are not told."""
    told = manifest.metrics.get(kind) or {}
    accuracy, macro_f1 = told.get("accuracy"), told.get("macro_f1")
    if accuracy is None or macro_f1 is None:
        return None
    return f"accuracy {accuracy:.4f}, macro-F1 {macro_f1:.4f}"


def _classes(manifest: Manifest) -> list[str]:
    """A line per class: its threshold, and how many tiles its figures stand on."""
    per_class = manifest.metrics.get("int8", {}).get("per_class", {})
    rows = []
    for name in manifest.classes:
        limit = manifest.thresholds.get(name)
        found, right = _counts(per_class[name]) if name in per_class else ("", "")
        rows.append(
            (name, "background" if limit is None else f"threshold {limit:.2f}", found, right)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "    " + "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _counts(row: dict[str, Any]) -> tuple[str, str]:
    """Recall and precision as counts: three tiles of three prove little."""
    there, recall, precision = (row.get(key) or 0 for key in ("support", "recall", "precision"))
    if not there:
        return "no tile of it was there", ""
    found = round(recall * there)
    if not found or not precision:
        return f"recall 0 of {there:,}{_interval(0, there)}", "precision 0"
    said = round(found / precision)
    return (
        f"recall {found:,} of {there:,}{_interval(found, there)}",
        f"precision {found:,} of {said:,}{_interval(found, said)}",
    )


def _interval(k: int, n: int) -> str:
    """Wilson's 95 % interval of a share (JASA 22, 1927), as if all tiles were independent."""
    z2 = 1.96**2
    middle = (k + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    return f" ({100 * max(middle - half, 0):.0f} to {100 * min(middle + half, 1):.0f} %)"


def _second_stage(verifier: Bundle) -> list[str]:
    """What the verifier is, and from which posterior on it lets a class pass."""
    manifest = verifier.manifest
    thresholds = ", ".join(f"{name} {value:.2f}" for name, value in manifest.thresholds.items())
    lines = [
        f"  verifier   {manifest.name}, {len(verifier.model):,} bytes, "
        f"{len(verifier.golden.tiles)} golden tiles for "
        f"{', '.join(sorted(verifier.golden.logits)) or 'no runtime'}",
        f"    sees a tile and its surroundings, temperature {manifest.temperature:.3f}",
        f"    lets pass from  {thresholds or 'verifies no class'}",
    ]
    if figures := _figures(manifest, "int8"):
        lines.append(
            f"    int8 {figures} on {manifest.metrics.get('n')} detections of "
            f"{manifest.metrics.get('split')}"
        )
    return lines
