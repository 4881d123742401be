"""Install the edge on a board over ssh, beside what is there, and switch once it is proven.

On the board, PREFIX holds::

    releases/ID/    one installation: venv, mission and bundles, units; ID is a digest of them all
    current ->      the installation that flies
    bin/            winnow-edge, a link to that of `current`
    store/          products; kept by every deploy
    incoming/       where swaths are moved to, unless --swath-input says otherwise

An installation becomes `current` after it is complete and `winnow-edge doctor` finds it fit there.
Whatever fails before that leaves the board as it was; if the service cannot be started with the new
one, the old one is put back.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import DeployError
from winnow_edge.sources.sockets import is_address, is_listening
from winnow_ground.board import LONG_S, Board, Facts
from winnow_ground.cargo import Cargo, check_input, check_safe, collect, download, take_wheel
from winnow_ground.unit_files import Options, input_at, place, socket_folder, units

_RELEASE = re.compile(r"releases/[0-9a-f]{12}")
KEPT = 2
"""Installations kept besides the current one, to go back to."""
SERVICES = ("auto", "system", "user", "none")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a deploy did. `changed` is False where the same installation flew already; `next` is a
    command to type here, which measures the board ("" after a dry run)."""

    release: str
    changed: bool
    service: str
    doctor: str
    next: str = ""


def deploy(
    board: Board, mission: Path, options: Options, *, say: Say, dry_run: bool = False
) -> Outcome:
    """Deploy a mission to a board; `say` is told each step and what doctor found.

    Raises DeployError naming the step that failed, and what `collect` raises.
    """
    check_safe("--prefix", options.prefix)
    check_input(options.swath_input)
    cargo = collect(mission, options.bundle)
    say(f"mission {cargo.mission.name}: {', '.join(cargo.bundles)}")
    with tempfile.TemporaryDirectory(prefix="winnow-deploy-") as scratch:
        wheel = take_wheel(options.wheel, cargo, Path(scratch))
        say(f"wheel {wheel.name}, {wheel.stat().st_size:,} bytes")
        facts = board.facts(options.python)
        glibc = ".".join(map(str, facts.glibc))
        say(f"board {board.host}: Python {facts.version}, {facts.machine}, glibc {glibc}")
        manager = _manager(options.service, facts, board)
        prefix = place(options.prefix, facts.home)
        kind = _input_kind(board, input_at(options, prefix))
        made = units(options, facts, cargo, manager, kind)
        release = _identity(wheel, cargo, made, facts, options)
        plan = _Plan(board, prefix, release, cargo, made, manager, facts, say)
        if dry_run:
            for name, text in made.items():
                say(f"would write {name}:\n{text}")
            say(f"would install {prefix}/releases/{release}; service: {manager}")
            return Outcome(release, False, manager, "")
        if not plan.is_complete():
            wheels = [] if options.board_index else download(wheel, facts, Path(scratch) / "w")
            plan.install(wheel, wheels)
    return plan.fly(input_at(options, prefix), kind)


@dataclass(frozen=True)
class _Plan:
    """One installation on its way onto the board."""

    board: Board
    prefix: str
    release: str
    cargo: Cargo
    units: dict[str, str]
    manager: str
    facts: Facts
    say: Say

    @property
    def folder(self) -> str:
        return f"{self.prefix}/releases/{self.release}"

    def is_complete(self) -> bool:
        """Whether this very installation is on the board."""
        return self.board.attempt('test -e "$1/.complete"', self.folder)[0] == 0

    def install(self, wheel: Path, wheels: Sequence[Path]) -> None:
        """Copy and install it beside what is there."""
        files: dict[str, bytes | Path] = {f"wheels/{p.name}": p for p in (wheel, *wheels)}
        files |= {f"flight/{name}": path for name, path in self.cargo.files.items()}
        files |= {f"units/{name}": text.encode() for name, text in self.units.items()}
        size = sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in files.values())
        self.say(f"copy {len(files)} files, {size:,} bytes, to {self.folder}")
        self.board.run("copy", 'rm -rf "$1"', self.folder)
        self.board.send("copy", self.folder, files)
        self.say("install")
        index = "--isolated --no-index" if wheels else ""
        script = _INSTALL.format(index=index)
        self.board.run("install", script, self.folder, self.facts.python, patience_s=LONG_S)

    def fly(self, source: str, kind: str) -> Outcome:
        """Examine it there, switch to it, have it started, and clear old ones away."""
        report = self._doctor()
        folders = [f"{self.prefix}/store", *([source] if kind == "folder" else [])]
        folder = socket_folder(source)
        folders += [folder] if folder is not None and not folder.startswith("/run/") else []
        self.board.run("folders", 'mkdir -p "$@"', *folders)
        command = self._command()
        before = self.board.run("switch", _SWITCH, self.prefix, self.release).strip()
        if before and not _RELEASE.fullmatch(before):
            before = ""  # not of a deploy: nothing to go back to
        same = before == f"releases/{self.release}"
        self.say(f"current -> releases/{self.release}" + (" (as before)" if same else ""))
        try:
            service = self._serve(self.folder, list(self.units))
        except DeployError:
            self._put_back(before)
            raise
        clear(self.board, self.prefix)
        bundle = self.cargo.bundles[0]
        if bundle in self.cargo.files:
            bundle = self._from_home(f"{self.prefix}/current/flight/{bundle}")
        following = self.board.typed(f"{self._from_home(command)} bench {bundle}")
        return Outcome(self.release, not same, service, report, following)

    def _command(self) -> str:
        """Where `winnow-edge` is called: in `bin/`, unless somebody else put one there."""
        code, target, _ = self.board.attempt(_COMMAND, self.prefix)
        if code == 0 and target.strip() == _LINK:
            return f"{self.prefix}/bin/winnow-edge"
        self.say(f"{self.prefix}/bin/winnow-edge is not of this deploy, and was left alone")
        return f"{self.prefix}/current/venv/bin/winnow-edge"

    def _from_home(self, path: str) -> str:
        """A path on the board as people type it there."""
        home = f"{self.facts.home}/"
        return f"~/{path.removeprefix(home)}" if path.startswith(home) else path

    def _doctor(self) -> str:
        self.say("doctor")
        bundles = [
            f"{self.folder}/flight/{name}" if name in self.cargo.files else name
            for name in self.cargo.bundles
        ]
        script = 'cd "$1" && shift && exec "$@"'
        command = [f"{self.folder}/venv/bin/winnow-edge", "doctor", *bundles]
        command += ["--store", f"{self.prefix}/store"]
        code, report, errors = self.board.attempt(script, self.prefix, *command, patience_s=LONG_S)
        if report:
            self.say(report.rstrip())
        if code:
            failed = [line for line in report.splitlines() if line.startswith("fail")]
            said = "; ".join(" ".join(line.split()) for line in failed) or errors
            raise self.board.failure("doctor", code, said)
        self.board.run("install", 'touch "$1/.complete" && sync', self.folder)
        return report

    def _serve(self, folder: str, names: Sequence[str]) -> str:
        """Have the service manager take the units of an installation; says what it did."""
        if self.manager == "none":
            return f"none; the units are in {folder}/units"
        script = _SYSTEM_SERVICE if self.manager == "system" else _USER_SERVICE
        watched = "winnow.path" if "winnow.path" in names else "winnow.service"
        said = self.board.run("service", script, folder, watched).strip()
        return f"{self.manager} unit {watched}: {said}"

    def _put_back(self, before: str) -> None:
        """Back to the installation that flew before."""
        if not before:
            self.board.attempt(_CLEAN, self.prefix)
            return
        self.say(f"putting {before} back")
        self.board.attempt(_SWITCH, self.prefix, before.removeprefix("releases/"))
        listing = self.board.attempt('ls "$1/$2/units"', self.prefix, before)[1]
        try:
            self._serve(f"{self.prefix}/{before}", listing.split())
        except DeployError as error:
            self.say(f"the old service does not start either: {error}")


def clear(board: Board, prefix: str) -> None:
    """Delete installations on the board, but for the current one and the `KEPT` newest complete
    ones. What no deploy made stays. Raises DeployError."""
    board.run("clear", _CLEAR, prefix, str(KEPT))


# A board takes minutes to compile all of numpy. What doctor imports of it is compiled then, and
# stays so. The service may not write there: what a run alone imports would be compiled each time.
_INSTALL = """
set -e
umask 022
"$2" -m venv "$1/venv"
"$1/venv/bin/python" -m pip --disable-pip-version-check --quiet install {index} \\
    --no-compile --find-links "$1/wheels" "$1"/wheels/winnow_edge-*.whl
"$1/venv/bin/python" -m compileall -q "$1"/venv/lib/python3*/site-packages/winnow_edge \\
    "$1"/venv/lib/python3*/site-packages/PIL
rm -rf "$1/wheels"
"""
_LINK = "../current/venv/bin/winnow-edge"
_COMMAND = f"""
mkdir -p "$1/bin" && cd "$1/bin" || exit
[ -e winnow-edge ] || [ -L winnow-edge ] || ln -s {_LINK} winnow-edge
readlink winnow-edge
"""
_CLEAN = f"""
rm -f "$1/current"
[ "$(readlink "$1/bin/winnow-edge")" != {_LINK} ] || rm -f "$1/bin/winnow-edge"
"""
_SWITCH = """
set -e
cd "$1"
readlink current || true
ln -sfn "releases/$2" current.new
mv -fT current.new current
sync
"""
_CLEAR = """
set -e
cd "$1/releases"
touch -c "$(basename "$(readlink ../current)")"
kept=0
ls -1t | grep -xE '[0-9a-f]{12}' | while read -r old; do
    if [ ! -e "$old/.complete" ]; then
        # Another deploy may be copying it; one that was broken off is old.
        [ -z "$(find "$old" -maxdepth 0 -mmin +60)" ] || rm -rf "./$old"
    elif [ "$kept" -le "$2" ]; then
        kept=$((kept + 1))
    else
        rm -rf "./$old"
    fi
done
"""
_START = """
$systemctl daemon-reload
for unit in "$1"/units/*; do $systemctl enable --quiet "$(basename "$unit")"; done
if [ "$2" = winnow.path ]; then
    $systemctl stop winnow.service
    $systemctl restart winnow.path
    $systemctl start --no-block winnow.service
else
    $systemctl disable --quiet --now winnow.path 2>/dev/null || true
    $systemctl restart winnow.service
fi
$systemctl is-active "$2"
"""
_SYSTEM_SERVICE = (
    """
set -e
sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
systemctl="$sudo systemctl"
$sudo cp "$1"/units/* /etc/systemd/system/
"""
    + _START
)
_USER_SERVICE = (
    """
set -e
systemctl="systemctl --user"
mkdir -p "$HOME/.config/systemd/user"
cp "$1"/units/* "$HOME/.config/systemd/user/"
loginctl enable-linger 2>/dev/null || echo "runs only while logged in (loginctl enable-linger)"
"""
    + _START
)


def _manager(asked: str, facts: Facts, board: Board) -> str:
    """Whose systemd takes the units: "system", "user" or "none"."""
    able = {"system": facts.systemd and facts.root, "user": facts.user_manager, "none": True}
    if asked == "auto":
        return next(name for name, can in able.items() if can)
    if not able[asked]:
        lack = {
            "system": "systemd with root (or sudo without a password)",
            "user": "a systemd of the user's own",
        }
        raise DeployError(
            f"--service {asked} needs {lack[asked]}, which is not there",
            where=board.host,
            hint="use --service auto",
        )
    return asked


def _input_kind(board: Board, source: str) -> str:
    if is_address(source):
        return "listener" if is_listening(source) else "socket"
    script = """
if [ -p "$1" ]; then echo stream
elif [ -c "$1" ]; then echo device
elif [ -d "$1" ] || [ ! -e "$1" ]; then echo folder
else echo file; fi
"""
    kind = board.run("swath input", script, source).strip()
    if kind == "file":
        raise DeployError(
            "is a file, so there would be one swath only",
            where=f"{board.host}:{source}",
            hint="name the folder that swaths are moved to, a named pipe (mkfifo), a device or a "
            "socket's address",
        )
    return kind


def _identity(
    wheel: Path, cargo: Cargo, made: dict[str, str], facts: Facts, options: Options
) -> str:
    digest = hashlib.sha256()
    for path in (wheel, *cargo.files.values()):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    rest = [sorted(cargo.files), made, facts.python, facts.version, options.board_index]
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()[:12]
