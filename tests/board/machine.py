"""An emulated machine that is booted, spoken to over ssh, and cut from its power."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.board import blocklog
from tests.board.image import Image

BOOT_S = float(os.environ.get("WINNOW_BOOT_S", "1800"))
"""A machine that does not answer by then is broken; an emulated one on a busy host is slow."""
KVM_S = 30
MEMORY_MB = "768"


def no_kvm(machine: str) -> str | None:
    """Why KVM can run no machine of this architecture here; None: it may."""
    if os.uname().machine != machine:
        return f"this machine is no {machine}"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no /dev/kvm here"
    if Path("/sys/module/kvm_pvm").exists():
        return "KVM here is kvm-pvm, which runs kernels that were made for it alone"
    return None


def starts_with_kvm(image: Image, folder: Path) -> bool:
    """Whether a kernel starts: in a virtual machine KVM may be there and hang."""
    log = folder / "kvm.log"
    log.touch()
    with _emulator(image, ["-accel", "kvm", "-cpu", "host"], log, []) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KVM_S)
        process.kill()
    return b"Linux version" in log.read_bytes()


def _emulator(
    image: Image, accelerator: Sequence[str], log: Path, more: Sequence[str]
) -> subprocess.Popen[bytes]:
    words = f"console={image.kind.console} root=/dev/vda rw panic=-1 {image.kind.words}"
    command = [image.kind.emulator, *image.kind.machine, *accelerator, "-m", MEMORY_MB]
    command += ["-nodefaults", "-display", "none", "-serial", f"file:{log}", "-no-reboot"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", words]
    said = log.with_suffix(".emulator").open("wb")
    with said:
        return subprocess.Popen([*command, *more], stdin=subprocess.DEVNULL, stderr=said)


class Machine:
    """A machine with a disk of its own."""

    def __init__(self, image: Image, folder: Path, *, kvm: bool) -> None:
        self._image, self._folder = image, folder
        tcg = ["-accel", "tcg", "-smp", "1", "-cpu", image.kind.cpu]
        self._accelerator = ["-accel", "kvm", "-cpu", "host"] if kvm else tcg
        self._process: subprocess.Popen[bytes] | None = None
        self.disk = folder / "disk.img"
        self.writes = folder / "writes.log"
        self.console = folder / "console.log"
        shutil.copyfile(image.key, folder / "key")
        (folder / "key").chmod(0o600)
        self.key = folder / "key"
        command = ["cp", "--sparse=always", "--reflink=auto", image.disk, self.disk]
        subprocess.run(command, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def close(self) -> None:
        """Away with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def boot(self) -> None:
        """Switch it on."""
        more = [*self.blocks(), "-device", "virtio-blk-pci,drive=logged", "-netdev", self.net]
        more += ["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        self._process = _emulator(self._image, self._accelerator, self.console, more)

    def blocks(self) -> list[str]:
        """QEMU's disk of a machine just switched on: what it writes goes to a log, and to a layer
        that is thrown away."""
        layer = self._folder / "layer.qcow2"
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.disk, layer]
        subprocess.run(make, check=True)
        self.writes.write_bytes(b"")
        self.console.write_bytes(b"")
        blocks = f"driver=qcow2,node-name=layer,file.driver=file,file.filename={layer}"
        logged = "driver=blklogwrites,node-name=logged,file=layer,log.driver=file"
        return ["--blockdev", blocks, "--blockdev", f"{logged},log.filename={self.writes}"]

    @property
    def net(self) -> str:
        """QEMU's network, whose router passes what comes to `port` on to its sshd."""
        return f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:22"

    def cut(self, rng: random.Random | None = None) -> int:
        """Cut the power; the disk loses, in part, what it was not told to flush (None: nothing).
        How many requests to the disk are not, or not all, on it."""
        self.close()
        return blocklog.apply(self.writes, self.disk, rng)

    def said(self) -> str:
        """What is on the console since it was switched on."""
        return self.console.read_bytes().decode("utf-8", "replace")

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Wait for something. Raises RuntimeError with the console's last lines."""
        began = time.monotonic()
        while time.monotonic() - began < BOOT_S and self.runs():
            if until():
                return
            time.sleep(0.25)
        if not until():
            told = self.console.with_suffix(".emulator").read_text(errors="replace")
            raise RuntimeError(f"{what}: it did not come about: {told}{self.said()[-2000:]}")

    def worked(self) -> float:
        """Seconds of processor time that it took since it was switched on: a measure of what it
        did on a busy host too."""
        if self._process is None:
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def options(self) -> list[str]:
        return ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]

    def answers(self) -> None:
        """Wait until somebody can log in."""

        def answers() -> bool:
            with contextlib.suppress(RuntimeError):
                self.ask("true")
                return True
            return False

        self.wait(answers, "an answer over ssh")

    def ask(self, script: str, *, data: bytes = b"") -> str:
        """Run a script there; its output. Raises RuntimeError."""
        command = ["ssh", "-p", str(self.port), "-i", str(self.key)]
        for option in [*self.options, "BatchMode=yes", "ConnectTimeout=60"]:
            command += ["-o", option]
        command += ["root@127.0.0.1", script]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode()
