"""`winnow-edge info BUNDLE`: what a bundle is, after verifying it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from winnow_edge.bundle import Bundle, find_bundle, open_bundle


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
        print(bundle.card, end="")
    else:
        print("\n".join(_summary(bundle)))
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
    crossed = str(manifest.metrics.get("split")).startswith("cross-validated")
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
        f"  classes    ({judged} figures; a tile is a detection from the threshold on)",
    ]
    per_class = manifest.metrics.get("int8", {}).get("per_class", {})
    width = max(len(name) for name in manifest.classes)
    for name in manifest.classes:
        threshold = manifest.thresholds.get(name)
        text = f"    {name:{width}}  " + (
            "background    " if threshold is None else f"threshold {threshold:.2f}"
        )
        if row := per_class.get(name):
            text += f"  precision {row['precision']:.3f}  recall {row['recall']:.3f}"
        lines.append(text)
    lines += [
        f"  {kind:9}  accuracy {figures['accuracy']:.4f}, macro-F1 {figures['macro_f1']:.4f} "
        f"on {manifest.metrics.get('n')} tiles of {manifest.metrics.get('split')}"
        for kind in ("float", "int8")
        if (figures := manifest.metrics.get(kind))
    ]
    if bundle.verifier is not None:
        lines += _second_stage(bundle.verifier)
    if dataset := manifest.training.get("dataset"):
        lines.append(f"  trained    on {dataset}, split by source")
    lines.append(f"  licence    {manifest.licence or 'not stated'}")
    if manifest.attribution:
        lines.append(f"  data       {manifest.attribution}")
    return lines


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
    if figures := manifest.metrics.get("int8"):
        lines.append(
            f"    int8 accuracy {figures['accuracy']:.4f}, macro-F1 {figures['macro_f1']:.4f} "
            f"on {manifest.metrics.get('n')} detections of {manifest.metrics.get('split')}"
        )
    return lines
