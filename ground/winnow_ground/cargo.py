"""What goes to a board: the mission file, its bundles, the edge wheel and what that depends on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import winnow_edge
from winnow_base.errors import DeployError
from winnow_edge.bundle import bundles_folder, find_bundle, open_bundle
from winnow_edge.errors import SwathError
from winnow_edge.loop.settings import Settings
from winnow_edge.mission import Mission, load_mission
from winnow_edge.sources.sockets import host_and_port
from winnow_ground.board import Facts

_SAFE = re.compile(r"[\w./@+-]+")
"""Paths that need no quoting in a shell, a unit file or an environment."""
_HOSTS = re.compile(r"[\w.:\[\]-]+")
"""A host and port that need none but quotation marks."""
_TEMPORARY = ("/tmp", "/var/tmp")
_SOCKET_PATH_BYTES = 107
"""What sun_path holds, less the NUL at its end (unix(7))."""


@dataclass(frozen=True)
class Cargo:
    """What flies: files by their names below the installation's `flight/`, all verified."""

    mission: Mission
    mission_name: str
    bundles: tuple[str, ...]
    """As `winnow-edge doctor` is told them: paths below `flight/`, or shipped names."""
    override: str | None
    """The bundle of --bundle, in the same form."""
    files: dict[str, Path]


def collect(mission_path: Path, bundle: str | None = None) -> Cargo:
    """The mission file and the bundles it names, checked on the ground.

    Bundles keep their place relative to the mission file, so that it flies unchanged. Raises
    MissionError, BundleError; DeployError for a bundle that has no place relative to it.
    """
    mission = load_mission(mission_path)
    named = [camera.bundle for camera in mission.instruments.values()] if bundle is None else []
    paths = {name: find_bundle(name, beside=mission_path) for name in dict.fromkeys(named)}
    for name in paths:
        if Path(name).is_absolute():
            raise DeployError(
                f"names the bundle by an absolute path, {name}",
                where=mission_path,
                hint="give it relative to the mission file, or a shipped name",
            )
    if bundle is None:
        _check_settings(mission)
    own = {name: path.absolute() for name, path in paths.items() if not _shipped(path)}
    home = mission_path.absolute()
    top = Path(os.path.commonpath([home.parent, *(_plain(p).parent for p in own.values())]))
    files = {home.relative_to(top).as_posix(): mission_path}
    files |= {_plain(path).relative_to(top).as_posix(): path for path in own.values()}
    told = [
        _plain(own[name]).relative_to(top).as_posix() if name in own else paths[name].stem
        for name in paths
    ]
    override = None
    if bundle is not None:
        path = find_bundle(bundle)
        # On board it takes the place of every instrument's.
        cameras = {
            name: replace(camera, bundle=str(path.absolute()))
            for name, camera in mission.instruments.items()
        }
        _check_settings(replace(mission, instruments=cameras))
        override = path.stem if _shipped(path) else f"bundles/{path.name}"
        told.append(override)
        if not _shipped(path):
            files[override] = path
    mission_name = home.relative_to(top).as_posix()
    check_safe("mission file and bundle names", *files)
    return Cargo(mission, mission_name, tuple(dict.fromkeys(told)), override, files)


def _check_settings(mission: Mission) -> None:
    """Refuse here what would end the first run on board. Raises BundleError, MissionError."""
    for name, camera in mission.instruments.items():
        bundle = open_bundle(find_bundle(camera.bundle, beside=mission.path))
        Settings.of(mission, name, bundle)


def take_wheel(wheel: Path | None, cargo: Cargo, scratch: Path) -> Path:
    """The edge wheel: `wheel` itself, or one built from the source tree that this runs from.

    Raises DeployError if it cannot be built, is no wheel of winnow-edge, or lacks a bundle.
    """
    if wheel is None:
        wheel = _built_wheel(scratch)
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DeployError(f"is no wheel ({error})", where=wheel, hint="see `make wheel`") from None
    if not wheel.name.startswith("winnow_edge-") or "winnow_edge/__init__.py" not in names:
        raise DeployError("is no wheel of winnow-edge", where=wheel, hint="see `make wheel`")
    for bundle in cargo.bundles:
        if bundle not in cargo.files and f"winnow_edge/bundles/{bundle}.winnow" not in names:
            raise DeployError(
                f"ships no bundle {bundle!r}, which the mission names",
                where=wheel,
                hint="build it again (`make wheel`)",
            )
    return wheel


def download(wheel: Path, facts: Facts, scratch: Path) -> list[Path]:
    """The wheels that `wheel` depends on, for the board's Python, machine and C library.

    Raises DeployError where pip finds none.
    """
    # The whole version: "3.11" is 3.11.0 to pip, which some packages refuse.
    tag = "cp" + "".join(facts.version.split(".")[:2])
    major, minor = facts.glibc
    if facts.machine not in ("aarch64", "x86_64"):
        raise DeployError(f"there are no wheels for {facts.machine}", hint="see docs/deploy.md")
    platforms = [f"manylinux_{major}_{n}_{facts.machine}" for n in range(minor, 16, -1)]
    platforms.append(f"manylinux2014_{facts.machine}")
    command = ["download", "--dest", str(scratch), "--only-binary", ":all:", str(wheel)]
    command += ["--python-version", facts.version, "--implementation", "cp"]
    for abi in (tag, "abi3", "none"):
        command += ["--abi", abi]
    for platform in platforms:
        command += ["--platform", platform]
    if (pins := _source_tree() / "constraints.txt").is_file():
        command += ["--constraint", str(pins)]
    _pip("dependencies", command)
    return sorted(path for path in scratch.glob("*.whl") if path.name != wheel.name)


def _built_wheel(scratch: Path) -> Path:
    source = _source_tree() / "edge"
    if not (source / "pyproject.toml").is_file():
        raise DeployError(
            "the edge's source is not here to build a wheel from",
            hint="give --wheel winnow_edge-VERSION.whl (made by `make wheel` in a checkout)",
        )
    _pip("wheel", ["wheel", "--no-deps", "--wheel-dir", str(scratch), str(source)])
    (wheel,) = scratch.glob("winnow_edge-*.whl")
    return wheel


def _source_tree() -> Path:
    return Path(winnow_edge.__file__).resolve().parents[2]


def _pip(step: str, arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise DeployError(
            f"{step} failed: {lines[-1] if lines else done.stderr.strip()[-300:]}",
            hint="is the package index to be reached from here? --board-index asks the board's",
        )


def _shipped(path: Path) -> bool:
    return path.absolute().parent == bundles_folder().absolute()


def _plain(path: Path) -> Path:
    """Without `..`, but with links left as they are: the name is what the mission file says."""
    return Path(os.path.normpath(path))


def check_safe(what: str, *paths: str) -> None:
    for path in paths:
        if not _SAFE.fullmatch(path):
            raise DeployError(
                f"{path!r} has characters that unit files and shells read otherwise",
                where=what,
                hint="use letters, digits and . _ - + @ /",
            )


def check_input(source: str) -> None:
    """Refuse a --swath-input that a unit file or shell reads otherwise, or that cannot work.

    Raises DeployError.
    """
    if source.startswith(("tcp://", "tcp-listen://")):
        try:
            host_and_port(source)
        except SwathError as error:
            raise DeployError(error.what, where=source, hint=error.hint) from None
        if _HOSTS.fullmatch(source.partition("://")[2]):
            return
    is_socket = source.startswith(("unix:", "unix-listen:"))
    path = source.partition(":")[2] if is_socket else source
    check_safe("--swath-input", path)
    place = PurePosixPath(path)
    if ".." in place.parts:
        raise DeployError("has `..` in its path", where=source, hint="give the path without it")
    if any(place.is_relative_to(folder) for folder in _TEMPORARY):
        raise DeployError(
            "cannot be reached: the service has a /tmp and a /var/tmp of its own (PrivateTmp=)",
            where=source,
            hint="choose another folder, such as /run/NAME or /srv/NAME",
        )
    if is_socket:
        _check_socket(source, path)


def _check_socket(source: str, path: str) -> None:
    place = PurePosixPath(path)
    if not place.is_absolute() or path != str(place) or not place.name:
        raise DeployError(
            "is no place for a socket",
            where=source,
            hint="give the socket's own path from the root: /run/NAME/SOCKET",
        )
    if len(path.encode()) > _SOCKET_PATH_BYTES:
        raise DeployError(
            f"is too long for a socket ({len(path.encode())} bytes)",
            where=source,
            hint=f"a socket's path may have {_SOCKET_PATH_BYTES} (unix(7))",
        )
    # The service makes a socket where it listens, and its folder if that lies in /run.
    if source.startswith("unix-listen:") and str(place.parent) in ("/", "/run"):
        raise DeployError(
            "is no place to listen at",
            where=source,
            hint="the service makes the socket in a folder of its own: /run/NAME/SOCKET",
        )
