"""All benchmarks one after the other, in their short forms unless `--full` is given.

    python -m benchmarks [--full] [NAME ...]        # NAME: speed, finding.merging, ...

The comparison with peers needs an environment of its own (`make bench-peers`), the ablations need
hours: both have their own commands.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.harness import ROOT, SKIPPED

FOLDERS = ("speed", "finding", "damage")


def main() -> int:
    """Run what is named, else everything; returns 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="as measured for docs/benchmarks.md")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    files = [p for f in FOLDERS for p in sorted((ROOT / "benchmarks" / f).glob("*.py"))]
    modules = [f"{path.parent.name}.{path.stem}" for path in files]
    chosen = [m for m in modules if not args.names or {m, m.partition(".")[0]} & set(args.names)]
    if not chosen:
        parser.error(f"no such benchmark; there are {', '.join(modules)}")
    failed = []
    for module in chosen:
        print(f"\n## {module}\n", flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{module}"]
        code = subprocess.run(
            command if args.full else [*command, "--short"], cwd=ROOT, check=False
        ).returncode
        if code not in (0, SKIPPED):
            failed.append(module)
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
