"""`winnow deploy` to a real sshd on loopback, with keys made for it and a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.errors import DeployError
from winnow_edge.bundle import shipped_bundles
from winnow_edge.errors import MissionError
from winnow_edge.store.store import Store
from winnow_ground.board import Board, Facts
from winnow_ground.cargo import check_input, collect, take_wheel
from winnow_ground.deploy import Outcome, deploy
from winnow_ground.unit_files import Options, units

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}"
MISSION = 'name = "loopback"\n[instrument.camera]\nbundle = "{bundle}"\nsamples = 256\n'


@dataclass(frozen=True)
class Loopback:
    """A board that is this machine: `home` is its home folder, `arguments` lead ssh there."""

    home: Path
    board: Board

    def command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `winnow deploy`."""
        command = [sys.executable, "-c", "from winnow_cli.app import main; main()", "deploy"]
        command += ["127.0.0.1", *map(str, arguments), "--python", str(PYTHON)]
        command += ["--port", str(self.board.port), "--identity", str(self.board.identity)]
        for option in self.board.options:
            command += ["--ssh-option", option]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def deploy(
        self, mission: Path, wheel: Path, dry_run: bool = False, **options: Any
    ) -> tuple[Outcome, str]:
        """The same in this process: the outcome and what was said."""
        said: list[str] = []
        given = Options(wheel=wheel, python=str(PYTHON), **{"service": "none", **options})
        outcome = deploy(self.board, mission, given, say=said.append, dry_run=dry_run)
        return outcome, "\n".join(said)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A running sshd; skips where there is none."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd to deploy to; on Debian: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    home = folder / "home"
    home.mkdir()
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(key, check=True)
    (folder / "authorized_keys").write_text((folder / "user.pub").read_text())
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself in
    with _sshd(sshd, folder, home) as port:
        known = (folder / "host.pub").read_text().split()[:2]
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(known)}\n")
        options = (f"UserKnownHostsFile={folder / 'known_hosts'}", "StrictHostKeyChecking=yes")
        yield Loopback(home, Board("127.0.0.1", folder / "user", port, options))


@contextlib.contextmanager
def _sshd(sshd: str, folder: Path, home: Path) -> Iterator[int]:
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (folder / "config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 50\n"
            f"SetEnv HOME={home}\n"
        )
        log = folder / "log"
        daemon = subprocess.Popen([sshd, "-D", "-f", folder / "config", "-E", log])
        try:
            while daemon.poll() is None:
                if _is_sshd(port):
                    yield port
                    return
                time.sleep(0.05)
        finally:
            daemon.terminate()
            daemon.wait()
    raise RuntimeError(f"sshd does not start: {(folder / 'log').read_text()}")


def _is_sshd(port: int) -> bool:
    """Whether sshd answers; another program may have taken the port meanwhile."""
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edge wheel of this tree."""
    return take_wheel(None, _nothing(), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def mission(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mission beside a folder of bundles, as projects lay them out."""
    top = tmp_path_factory.mktemp("project")
    for name in ("missions", "bundles"):
        (top / name).mkdir()
    shutil.copy(shipped_bundles()[0], top / "bundles" / "own.winnow")
    path = top / "missions" / "loopback.toml"
    path.write_text(MISSION.format(bundle="../bundles/own.winnow"))
    return path


@dataclass(frozen=True)
class Deployed:
    """The first deploy to the board."""

    report: dict[str, Any]
    log: str
    current: Path


@pytest.fixture(scope="module")
def deployed(board: Loopback, mission: Path, wheel: Path) -> Deployed:
    """One deploy that went well."""
    done = board.command(mission, "--wheel", wheel, "--service", "none", "--json")
    assert done.returncode == 0, done.stderr
    return Deployed(json.loads(done.stdout), done.stderr, board.home / "winnow" / "current")


def test_it_is_installed_examined_and_current(board: Loopback, deployed: Deployed) -> None:
    assert deployed.report["changed"]
    assert "golden tiles agree" in deployed.report["doctor"]
    assert "fit to fly" in deployed.log  # shown as it came
    assert deployed.current.is_symlink()
    assert str(deployed.current.readlink()) == f"releases/{deployed.report['release']}"
    info = [deployed.current / "venv/bin/winnow-edge", "info", shipped_bundles()[0].stem]
    subprocess.run(info, check=True, capture_output=True)
    assert (board.home / "winnow" / "store").is_dir()


def test_the_units_command_flies_the_mission_over_what_comes_in(
    board: Loopback, deployed: Deployed
) -> None:
    """ExecStart as systemd would run it, on a swath that was moved into the folder."""
    unit = (deployed.current / "units" / "winnow.service").read_text()
    pixels = np.random.default_rng(5).integers(0, 255, (256, 256), np.uint8)
    swath = board.home / "winnow" / "incoming" / "pass-1.pgm"
    swath.write_bytes(b"P5 256 256 255\n" + pixels.tobytes())
    match = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert match is not None
    command = match[1].replace("$$", "$")
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True)
    with Store.open(board.home / "winnow" / "store", mission=None, read_only=True) as store:
        (row,) = store.swaths()
        assert row.name == "pass-1.pgm" and row.complete


def test_the_command_lies_in_bin_and_follows_what_flies(
    board: Loopback, deployed: Deployed
) -> None:
    command = board.home / "winnow" / "bin" / "winnow-edge"
    assert str(command.readlink()) == "../current/venv/bin/winnow-edge"
    assert command.resolve().is_relative_to(deployed.current.resolve())
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("winnow-edge ")


def test_the_next_command_is_told_and_can_be_typed(board: Loopback, deployed: Deployed) -> None:
    """It goes through the shells of both machines. `info` is quicker than the measurement."""
    said = deployed.report["next"]
    ssh, *_, command = shlex.split(said)
    assert (ssh, command.split()[:2]) == ("ssh", ["~/winnow/bin/winnow-edge", "bench"])
    typed = said.replace("winnow-edge bench ", "winnow-edge info ")
    done = subprocess.run(typed, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "/winnow/current/flight/bundles/own.winnow" in done.stdout.splitlines()[0]


def test_a_command_of_somebody_else_is_left_alone(
    board: Loopback, deployed: Deployed, mission: Path, wheel: Path
) -> None:
    command = board.home / "winnow" / "bin" / "winnow-edge"
    ours = command.readlink()
    command.unlink()
    command.write_text("#!/bin/sh\n")
    try:
        outcome, said = board.deploy(mission, wheel)
        assert command.read_text() == "#!/bin/sh\n"
        assert "was left alone" in said
        assert "~/winnow/current/venv/bin/winnow-edge bench " in outcome.next
    finally:
        command.unlink()
        command.symlink_to(ours)


def test_the_same_deploy_again_changes_nothing(
    board: Loopback, deployed: Deployed, mission: Path, wheel: Path
) -> None:
    venv = (deployed.current / "venv" / "pyvenv.cfg").stat()
    again, _ = board.deploy(mission, wheel)
    assert not again.changed and again.release == deployed.report["release"]
    assert (deployed.current / "venv" / "pyvenv.cfg").stat().st_mtime_ns == venv.st_mtime_ns


def test_what_doctor_refuses_does_not_replace_what_flies(
    board: Loopback, deployed: Deployed, tmp_path: Path, wheel: Path
) -> None:
    """A wheel in which the bundle was damaged: the failed step is named, the old one flies on."""
    name = shipped_bundles()[0].name
    broken = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(broken, "w") as target:
        for entry in source.infolist():
            data = bytearray(source.read(entry))
            if entry.filename.endswith(name):
                data[len(data) // 2] ^= 1
            if not entry.filename.endswith("RECORD"):
                target.writestr(entry, bytes(data))
            else:
                target.writestr(entry, b"")
    mission = tmp_path / "mission.toml"
    mission.write_text(MISSION.format(bundle=shipped_bundles()[0].stem))
    before = str(deployed.current.readlink())
    done = board.command(mission, "--wheel", broken, "--service", "none")
    assert done.returncode == 4
    last = done.stderr.splitlines()[-1]
    assert "doctor failed" in last and "damaged" in last and "Traceback" not in done.stderr
    assert str(deployed.current.readlink()) == before


def test_dry_run_shows_the_units_and_writes_nothing(
    board: Loopback, mission: Path, wheel: Path
) -> None:
    outcome, said = board.deploy(mission, wheel, dry_run=True, prefix="never/made")
    assert not outcome.changed and "ProtectSystem=strict" in said
    assert not (board.home / "never").exists()


def test_a_named_pipe_is_read_as_a_stream_and_a_file_refused(
    board: Loopback, mission: Path, wheel: Path
) -> None:
    prefix = board.home / "inputs"
    prefix.mkdir()
    os.mkfifo(prefix / "camera")
    (prefix / "picture.png").write_bytes(b"x")
    given: dict[str, Any] = {"dry_run": True, "prefix": "inputs"}
    _, said = board.deploy(mission, wheel, swath_input="camera", **given)
    assert "Restart=always" in said and '--name "$$INVOCATION_ID"' in said
    assert "winnow.path" not in said
    with pytest.raises(DeployError, match="is a file"):
        board.deploy(mission, wheel, swath_input="picture.png", **given)


@pytest.mark.parametrize("service", ["system", "user"])
def test_a_service_that_cannot_be_had_is_said(
    board: Loopback, mission: Path, wheel: Path, service: str
) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here, and this test would install a unit")
    with pytest.raises(DeployError, match=f"--service {service} needs"):
        board.deploy(mission, wheel, service=service)


def test_a_key_that_does_not_fit_is_one_line(board: Loopback, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with pytest.raises(DeployError, match=r"connect: .*Permission denied.*BatchMode"):
        replace(board.board, identity=key).facts()


def test_nobody_listening_is_one_line(mission: Path, wheel: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        here = Board("127.0.0.1", port=closed.getsockname()[1])
        with pytest.raises(DeployError, match=r"connect: .*refused"):
            here.facts()


def test_bundles_keep_their_place_relative_to_the_mission(mission: Path) -> None:
    cargo = collect(mission)
    assert cargo.mission_name == "missions/loopback.toml"
    assert set(cargo.files) == {"missions/loopback.toml", "bundles/own.winnow"}
    assert cargo.bundles == ("bundles/own.winnow",)


def test_a_shipped_bundle_travels_in_the_wheel(tmp_path: Path, wheel: Path) -> None:
    name = shipped_bundles()[0].stem
    path = tmp_path / "m.toml"
    path.write_text(MISSION.format(bundle=name))
    cargo = collect(path)
    assert set(cargo.files) == {"m.toml"} and cargo.bundles == (name,)
    assert take_wheel(wheel, cargo, tmp_path) == wheel
    bare = tmp_path / wheel.name
    with zipfile.ZipFile(bare, "w") as archive:
        archive.writestr("winnow_edge/__init__.py", b"")
    with pytest.raises(DeployError, match="ships no bundle"):
        take_wheel(bare, cargo, tmp_path)


def test_an_absolute_bundle_path_and_a_wheel_that_is_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(MISSION.format(bundle=shipped_bundles()[0]))
    with pytest.raises(DeployError, match="absolute path"):
        collect(path)
    path.write_text("no wheel")
    with pytest.raises(DeployError, match="is no wheel"):
        take_wheel(path, _nothing(), tmp_path)


def test_what_would_end_the_first_run_on_board_is_found_here(tmp_path: Path) -> None:
    """crater-dune has a sigmoid head; other shipped bundles have softmax heads."""
    path = tmp_path / "m.toml"
    text = MISSION.format(bundle="crater-dune")
    path.write_text(text + "[compute]\nborderline = 0.9\n")
    with pytest.raises(MissionError, match=r"m\.toml.*`compute.borderline` is 0.9, but .*sigmoid"):
        collect(path)
    path.write_text(text + "[compute]\nborderline = 0\n")
    collect(path)
    softmax = MISSION.format(bundle="hirise-landmarks") + "[compute]\nborderline = 0.9\n"
    path.write_text(softmax)
    collect(path)
    # --bundle takes the place of the softmax one on board.
    with pytest.raises(MissionError, match="sigmoid"):
        collect(path, "crater-dune")
    path.write_text(softmax + '[instrument.other]\nbundle = "crater-dune"\n')
    assert collect(path).bundles == ("hirise-landmarks", "crater-dune")


def test_what_a_service_keeps_in_memory_outlives_it(tmp_path: Path, mission: Path) -> None:
    made = units(Options(), facts_of(tmp_path), collect(mission), "system", "folder")
    assert "RemoveIPC" not in made["winnow.service"]  # it empties /dev/shm


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd to ask")
@pytest.mark.parametrize("manager", ["system", "user"])
@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("folder", "incoming"),
        ("stream", "camera"),
        ("device", "/dev/video0"),
        ("socket", "tcp://camera.local:5000"),
        ("listener", "tcp-listen://[::]:5000"),
        ("listener", "unix-listen:/run/winnow/camera.sock"),
    ],
)
def test_systemd_accepts_the_units(
    tmp_path: Path, mission: Path, manager: str, kind: str, source: str
) -> None:
    facts = replace(facts_of(tmp_path), edgetpu=kind == "folder")
    options = Options(samples=2048, swath_input=source)
    made = units(options, facts, collect(mission), manager, kind)
    assert set(made) == {"winnow.service"} | ({"winnow.path"} if kind == "folder" else set())
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in made)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "winnow." in line]
    assert not complaints, complaints


def facts_of(home: Path) -> Facts:
    """This machine as a board whose home folder is `home`."""
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    return Facts(str(home), user, True, True, True, "python3", "3.11", "x86_64", (2, 36))


def settings_of(unit: str) -> dict[str, list[str]]:
    """The values of each key of a unit."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_a_missions_name_writes_no_line_of_its_own(tmp_path: Path) -> None:
    name = "x)\\n[Service]\\nExecStartPre=+/bin/sh -c 'touch %h/pwned'\\r\\u2028#\\\\"
    path = tmp_path / "m.toml"
    text = MISSION.format(bundle="ice-patches").replace("loopback", name)
    path.write_text(text)
    evil, plain = (units(Options(), facts_of(tmp_path), collect(p), "system", "folder")
                   for p in (path, _with_name(tmp_path, "loopback")))  # fmt: skip
    for file, unit in evil.items():
        lines, wanted = unit.splitlines(), plain[file].splitlines()
        assert len(lines) == len(wanted)
        strange = [(a, b) for a, b in zip(lines, wanted, strict=True) if a != b]
        assert all(a.startswith(("Description=", "ExecStart=/bin/sh -c 'exec")) for a, _ in strange)
        for said, _ in strange:
            assert not said.endswith("\\")
            assert "ExecStartPre" not in said or "%%h" in said


def _with_name(folder: Path, name: str) -> Path:
    path = folder / "plain.toml"
    path.write_text(MISSION.format(bundle="ice-patches").replace("loopback", name))
    return path


def test_a_service_reaches_what_its_input_needs_and_no_more(tmp_path: Path, mission: Path) -> None:
    cargo = collect(mission)

    def made(source: str, kind: str, manager: str = "system", **facts: Any) -> Any:
        here = replace(facts_of(tmp_path), **facts)
        options = Options(swath_input=source)
        return settings_of(units(options, here, cargo, manager, kind)["winnow.service"])

    store = f"{tmp_path}/winnow/store"
    folder = made("incoming", "folder")
    assert folder["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert folder["PrivateNetwork"] == folder["PrivateDevices"] == ["yes"]
    incoming = f"{tmp_path}/winnow/incoming"  # finished files are moved
    assert folder["ReadWritePaths"] == [f"{store} {incoming}"] and folder[
        "CapabilityBoundingSet"
    ] == [""]
    for source, kind in (
        ("tcp://camera:5000", "socket"),
        ("tcp-listen://0.0.0.0:5000", "listener"),
    ):
        tcp = made(source, kind)
        assert tcp["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
        assert "PrivateNetwork" not in tcp and "IPAddressDeny" not in tcp
        assert tcp["Restart"] == ["always"] and tcp["RestartPreventExitStatus"] == ["2"]
    assert made("unix-listen:/srv/cam/s", "listener")["ReadWritePaths"] == [f"{store} /srv/cam"]
    assert made("unix-listen:/run/cam/s", "listener")["RuntimeDirectory"] == ["cam"]
    device = made("/dev/video0", "device")
    assert device["DeviceAllow"] == ["/dev/video0 r"] and "PrivateDevices" not in device
    tpu = made("incoming", "folder", edgetpu=True)
    assert tpu["DeviceAllow"] == ["char-apex rw", "char-usb_device rw"]
    assert "PrivateDevices" not in tpu
    # libusb waits there for udev's word of a TPU that comes anew with its firmware.
    assert "PrivateNetwork" not in tpu
    assert tpu["RestrictAddressFamilies"] == ["AF_UNIX AF_NETLINK"]
    assert tpu["IPAddressDeny"] == ["any"]
    own = made("incoming", "folder", "user")
    assert "CapabilityBoundingSet" not in own and "SystemCallFilter" in own


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd to ask")
@pytest.mark.parametrize("manager", ["system", "user"])
def test_a_service_may_ask_who_keeps_the_clock_and_not_set_it(
    tmp_path: Path, mission: Path, manager: str
) -> None:
    made = units(Options(), facts_of(tmp_path), collect(mission), manager, "folder")
    service = settings_of(made["winnow.service"])
    allowed = set[str]()
    for rule in service["SystemCallFilter"]:
        calls = _calls(rule.removeprefix("~").split())
        allowed = allowed - calls if rule.startswith("~") else allowed | calls
    assert {"adjtimex", "clock_adjtime", "read", "openat"} <= allowed
    assert not {"clock_settime", "settimeofday", "reboot"} & allowed
    # It would refuse these two again, whatever the filter says.
    assert "ProtectClock" not in service
    assert manager == "user" or service["CapabilityBoundingSet"] == [""]


def _calls(names: list[str]) -> set[str]:
    """The system calls of names and groups, as systemd knows them."""
    found = {name for name in names if not name.startswith("@")}
    for group in set(names) - found:
        told = subprocess.run(
            ["systemd-analyze", "syscall-filter", group],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        lines = (line.strip() for line in told.splitlines()[1:])
        found |= _calls([line for line in lines if line and not line.startswith("#")])
    return found


def test_the_command_of_a_service_that_listens_takes_pass_after_pass(
    tmp_path: Path, mission: Path
) -> None:
    """ExecStart as systemd would run it, with this environment's winnow-edge."""
    current = tmp_path / "winnow" / "current"
    (current / "venv" / "bin").mkdir(parents=True)
    shutil.copytree(mission.parents[1], current / "flight")
    (current / "venv" / "bin" / "winnow-edge").symlink_to(
        Path(sys.executable).parent / "winnow-edge"
    )
    options = Options(swath_input=f"unix-listen:{tmp_path}/cam/s")
    (tmp_path / "cam").mkdir()
    unit = units(options, facts_of(tmp_path), collect(mission), "system", "listener")
    (start,) = settings_of(unit["winnow.service"])["ExecStart"]
    match = re.fullmatch(r"/bin/sh -c '(.*)'", start)
    assert match is not None
    command = ["/bin/sh", "-c", match[1].replace("$$", "$")]
    lines = np.random.default_rng(5).integers(0, 255, (300, 256), np.uint8).tobytes()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as service:
        assert service.stderr is not None
        assert b"listening at" in service.stderr.readline()
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(f"{tmp_path}/cam/s")
                peer.sendall(lines)
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(1) == b""  # once the swath is committed
        service.terminate()
        assert service.wait() == 0
    with Store.open(tmp_path / "winnow" / "store", mission=None, read_only=True) as store:
        assert [(row.name, row.complete) for row in store.swaths()] == [
            ("pass-1", True),
            ("pass-2", True),
        ]


def test_lines_of_unknown_width_are_refused_before_anything_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(MISSION.format(bundle=shipped_bundles()[0].stem).replace("samples = 256", ""))
    options = Options(swath_input="tcp-listen://0.0.0.0:5000")
    with pytest.raises(DeployError, match="give their width"):
        units(options, facts_of(tmp_path), collect(path), "system", "listener")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("tcp-listen://0.0.0.0", "is no address; write tcp-listen://HOST:PORT"),
        ("tcp://camera:0", "is no address"),
        ("tcp://$(reboot):5000", "characters"),
        ("unix:camera.sock", "is no place for a socket; give .* from the root"),
        ("unix:/", "is no place for a socket"),
        ("unix-listen:/srv/cam/", "is no place for a socket"),
        (f"unix:/srv/{'x' * 103}", r"too long for a socket \(108 bytes\)"),
        ("unix-listen:/tmp/w/s", r"a /tmp and a /var/tmp of its own"),
        ("unix:/var/tmp/s", r"a /tmp and a /var/tmp of its own"),
        ("/tmp/incoming", r"a /tmp and a /var/tmp of its own"),
        ("unix-listen:/run/x/../s", r"has `\.\.` in its path"),
        ("../incoming", r"has `\.\.` in its path"),
        ("unix-listen:/run/camera.sock", "in a folder of its own"),
        ("unix-listen:/run/a b/c", "characters"),
        ("http://camera:5000", "characters"),
    ],
)
def test_an_input_that_no_service_could_read_is_refused(source: str, says: str) -> None:
    with pytest.raises(DeployError, match=says):
        check_input(source)


@pytest.mark.parametrize(
    "source",
    [
        "incoming",
        "/srv/incoming",
        "/dev/video0",
        "/run/camera",
        "tcp://camera.local:5000",
        "tcp-listen://[::]:5000",
        "unix:/run/camera.sock",
        f"unix:/srv/{'x' * 102}",
        "unix-listen:/run/winnow/camera.sock",
        "unix-listen:/tmpfs/s",
    ],
)
def test_an_input_that_a_service_can_read_is_taken(source: str) -> None:
    check_input(source)


def test_characters_that_a_shell_would_read_are_refused(
    board: Loopback, mission: Path, wheel: Path
) -> None:
    with pytest.raises(DeployError, match="characters"):
        board.deploy(mission, wheel, prefix="win now; rm -rf x")


def _nothing() -> Any:
    """Cargo that asks nothing of the wheel."""
    from types import SimpleNamespace

    return SimpleNamespace(bundles=(), files={})
