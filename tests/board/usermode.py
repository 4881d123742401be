"""A machine whose kernel is a process: User-Mode Linux, for hosts where KVM runs no kernel.

Kernel, ext4, systemd and programs are those of a machine and run at nearly the host's speed; no
processor is emulated. Its disk is a virtio disk that qemu-storage-daemon serves with the same log
of requests; its network is QEMU's own, of a machine that has nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.board.image import Image, initial
from tests.board.machine import MEMORY_MB, Machine

TOOLS = ("linux.uml", "qemu-storage-daemon")
DISK_S = 60
"""So long a disk is waited for."""
WORDS = (
    "root=/dev/vda rw panic=-1 loglevel=4 systemd.show_status=1 systemd.log_color=0 audit=0 "
    "raid=noautodetect con=null con0=null,fd:1 console=tty0"
)


class UserMode(Machine):
    """An x86-64 machine with a disk of its own."""

    def __init__(self, image: Image, folder: Path) -> None:
        super().__init__(image, folder, kvm=False)
        self._router = [image.kind.emulator, "-M", "none", "-nodefaults", "-display", "none"]
        self._others: list[subprocess.Popen[bytes]] = []
        """Its disk, its network, and the reader of its console."""
        self._socket = folder / "disk.sock"
        first = folder / "initial.cpio"
        (module,) = Path("/usr/lib/uml/modules").rglob("virtio_blk.ko")
        busybox = image.folder / "initrd" / "bin" / "busybox"
        first.write_bytes(initial(folder / "initial", busybox, [module]))
        self._kernel = [shutil.which("linux.uml") or "linux.uml", f"mem={MEMORY_MB}M"]
        self._kernel += [*WORDS.split(), f"initrd={first}", f"uml_dir={folder}/"]
        self._kernel += [f"virtio_uml.device={self._socket}:2"]

    def boot(self) -> None:
        self._socket.unlink(missing_ok=True)
        export = "type=vhost-user-blk,id=disk,node-name=logged,writable=on,addr.type=unix"
        serve = ["qemu-storage-daemon", *self.blocks()]
        serve += ["--export", f"{export},addr.path={self._socket}"]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        route = [*self._router, "-netdev", self.net]
        route += ["-netdev", f"socket,id=card,fd={theirs.fileno()}"]
        for name in ("net", "card"):
            route += ["-netdev", f"hubport,id=hub-{name},hubid=0,netdev={name}"]
        kernel = [*self._kernel, f"vec0:transport=fd,fd={ours.fileno()},vec=0"]
        said = self.console.with_suffix(".emulator").open("wb")
        with said, ours, theirs, self.console.open("wb") as console:
            disk = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stderr=said)
            # Its console must be a pipe: it waits for it by epoll, which knows no files.
            reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=console)
            network = subprocess.Popen(
                route, stdin=subprocess.DEVNULL, stderr=said, pass_fds=[theirs.fileno()]
            )
            self._others = [disk, network, reader]
            began = time.monotonic()
            while not self._socket.exists() and time.monotonic() - began < DISK_S:
                time.sleep(0.05)
            self._process = subprocess.Popen(
                kernel,
                stdin=subprocess.DEVNULL,
                stdout=reader.stdin,
                stderr=said,
                pass_fds=[ours.fileno()],
                process_group=0,
            )
            if reader.stdin is not None:
                reader.stdin.close()

    def close(self) -> None:
        for process in self._others[:1]:
            process.kill()
        if self._process is not None:
            # The programs in it are processes of its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        super().close()
        for process in self._others:
            process.kill()
            process.wait()
        self._others = []
