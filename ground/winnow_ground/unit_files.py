"""The unit files by which a board's systemd starts the flight loop, and what they let it reach."""

from __future__ import annotations

import importlib.resources
import string
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from winnow_base.errors import DeployError
from winnow_edge.sources.sockets import is_address
from winnow_ground.board import Facts
from winnow_ground.cargo import Cargo

MEMORY_MAX = "256M"
"""Above the 160 MB that the widest swath (20,048 samples) may take."""
_NAME_MOST = 80
"""Characters of a mission's name that a unit's description shows."""


@dataclass(frozen=True)
class Options:
    """How to deploy; see `winnow deploy --help`."""

    prefix: str = "winnow"
    swath_input: str = "incoming"
    samples: int | None = None
    bundle: str | None = None
    wheel: Path | None = None
    python: str | None = None
    service: str = "auto"
    board_index: bool = False


def units(options: Options, facts: Facts, cargo: Cargo, manager: str, kind: str) -> dict[str, str]:
    """The unit files by name. `kind` of the input is "folder", "stream" (a named pipe), "device",
    "socket" (connected to) or "listener".

    Raises DeployError where lines come without a header and nothing says how wide they are.
    """
    prefix = place(options.prefix, facts.home)
    source = input_at(options, prefix)
    mission = f"{prefix}/current/flight/{cargo.mission_name}"
    command = f"exec {prefix}/current/venv/bin/winnow-edge run {mission} "
    command += {
        "folder": f"{source} --incoming",
        "listener": f'"{source}" --name pass --passes all',
    }.get(kind, f'"{source}" --name "$$INVOCATION_ID"')
    command += f" --store {prefix}/store"
    if options.samples is not None:
        command += f" --samples {options.samples}"
    elif kind != "folder" and any(c.samples is None for c in cargo.mission.instruments.values()):
        raise DeployError(
            "raw lines have no header",
            where=source,
            hint="give their width: --samples N, or `samples` of every instrument",
        )
    if cargo.override is not None:
        shipped = cargo.override not in cargo.files
        where = cargo.override if shipped else f"{prefix}/current/flight/{cargo.override}"
        command += f" --bundle {where}"
    values = {
        "mission": one_line(cargo.mission.name),
        "prefix": prefix,
        "input": source,
        "command": command,
        "memory": MEMORY_MAX,
        # A stream ends with its swath, and the next is waited for.
        "restart": "on-failure" if kind == "folder" else "always",
        "condition": f"ConditionDirectoryNotEmpty={source}\n" if kind == "folder" else "",
        "user": f"User={facts.user}" if manager == "system" else "",
        "target": "multi-user.target" if manager == "system" else "default.target",
        **_walls(source, kind, facts, f"{prefix}/store", manager),
    }
    names = ["winnow.service", *(["winnow.path"] if kind == "folder" else [])]
    folder = importlib.resources.files("winnow_ground") / "units"
    # Template.substitute does not look into the values: the command's $$ stays, as systemd wants.
    return {
        name: string.Template((folder / name).read_text(encoding="utf-8")).substitute(values)
        for name in names
    }


def _walls(source: str, kind: str, facts: Facts, store: str, manager: str) -> dict[str, str]:
    """What the service may reach, by what its input needs (systemd.exec(5))."""
    families, writes, walls = ["AF_UNIX"], [store], []
    if source.startswith(("tcp://", "tcp-listen://")):
        families += ["AF_INET", "AF_INET6"]
    else:
        walls.append("IPAddressDeny=any")
    if facts.edgetpu:
        # libusb hears of devices from udev, over netlink; udev's messages reach the host's network
        # namespace alone, and an Edge TPU comes anew, under another id, once its firmware is there.
        families.append("AF_NETLINK")
        walls += ["DeviceAllow=char-apex rw", "DeviceAllow=char-usb_device rw"]
    elif "AF_INET" not in families:
        walls.append("PrivateNetwork=yes")
    if kind == "folder":
        writes.append(source)
    if kind == "device":
        walls.append(f"DeviceAllow={source} r")
    if kind != "device" and not facts.edgetpu:
        walls += ["PrivateDevices=yes", "PrivateUsers=yes"]
    folder = socket_folder(source)
    if folder is not None and manager == "system" and folder.startswith("/run/"):
        walls.append(f"RuntimeDirectory={folder.removeprefix('/run/')}")
    elif folder is not None:
        writes.append(folder)
    return {
        "families": " ".join(families),
        "writes": " ".join(writes),
        # Who may write to a socket may connect to it.
        "umask": "0027" if folder is None else "0007",
        # A user's own systemd may not set these up: the service would not start (218/CAPABILITIES).
        "sandbox": "\n".join([*_ROOTS_WALLS, *walls, ""]) if manager == "system" else "",
    }


_ROOTS_WALLS = (
    "CapabilityBoundingSet=",
    "PrivateMounts=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectProc=invisible",
)
"""Not RemoveIPC=, which would delete the store that is kept in memory while a disk fails. Not
ProtectClock=, which would refuse to read whether a time service keeps the clock: without a
capability nobody sets it."""


def input_at(options: Options, prefix: str) -> str:
    """Where swaths come from: an address as it was given, or an absolute path on the board."""
    given = options.swath_input
    return given if is_address(given) else place(given, prefix)


def socket_folder(source: str) -> str | None:
    """The folder in which the service makes a socket, if it listens at one."""
    scheme, _, path = source.partition(":")
    return str(PurePosixPath(path).parent) if scheme == "unix-listen" else None


def one_line(name: str) -> str:
    """A mission's name as text of a unit file: no line of its own, no specifier (systemd.unit(5)).

    >>> one_line("100 % Mars\\n[Service]\\n")
    '100 %% Mars [Service]'
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    # A backslash at the end of a line joins the next one to it.
    return words[:_NAME_MOST].replace("\\", "/").replace("%", "%%")


def place(path: str, base: str) -> str:
    """A path on the board, absolute or below `base`."""
    return str(PurePosixPath(base) / path)
