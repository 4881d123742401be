"""An emulated machine with Debian, systemd and sshd: its disk, kernel and initial file system.

Made once for each architecture in `$WINNOW_BOARDS` (~/.cache/winnow-boards), by root with
mmdebstrap: two minutes for x86-64, seven or more for aarch64, whose scripts are emulated. A new
recipe makes a new disk of the same packages.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
PACKAGES = "openssh-server,python3-venv,systemd-sysv,systemd,iproute2,kmod"
MODULES = (
    "crc32c_generic", "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev",
    "virtio_pci", "virtio_mmio", "virtio_blk", "failover", "net_failover", "virtio_net",
    "jbd2", "mbcache", "crc16", "ext4",
)  # fmt: skip
"""In the order in which they need each other; a kernel that has one built in has no file for it."""
DISK = "3G"

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    /bin/busybox sleep 1
done
# What is not flushed may be lost: QEMU 7.2 serves such a disk, and says otherwise, to vhost-user.
echo "write back" > /sys/block/vda/cache_type
# The address that the emulator's own network gives (QEMU, -netdev user).
/bin/busybox ip link set lo up
for card in eth0 vec0; do
    [ -e "/sys/class/net/$card" ] || continue
    /bin/busybox ip address add 10.0.2.15/24 dev "$card"
    /bin/busybox ip link set "$card" up
done
/bin/busybox mount -o rw /dev/vda /root
/bin/busybox umount /proc /sys
exec /bin/busybox switch_root /root /sbin/init
"""
WITNESS = "[Service]\nStandardOutput=journal+console\nWatchdogSec=1h\n"
"""What the service says goes to the console too: a witness outside of the machine. Its watchdog
waits for an emulator that hardly gets a processor."""
PATIENT = "[Manager]\nDefaultTimeoutStartSec=1h\nDefaultTimeoutStopSec=1h\n"
MASKED = (
    "apt-daily-upgrade.timer", "apt-daily.timer", "cryptsetup.target", "dev-hugepages.mount",
    "dev-mqueue.mount", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty.target", "integritysetup.target", "kmod-static-nodes.service",
    "modprobe@.service", "proc-sys-fs-binfmt_misc.automount", "remote-fs.target",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path", "systemd-binfmt.service", "systemd-firstboot.service",
    "systemd-initctl.socket", "systemd-journal-flush.service", "systemd-logind.service",
    "systemd-machine-id-commit.service", "systemd-modules-load.service",
    "systemd-pcrphase-sysinit.service", "systemd-pcrphase.service", "systemd-pstore.service",
    "systemd-random-seed.service", "systemd-remount-fs.service", "systemd-repart.service",
    "systemd-sysctl.service", "systemd-sysusers.service", "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service",
    "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service",
    "systemd-user-sessions.service", "veritysetup.target",
)  # fmt: skip
"""Units without which the machine starts in a third of the time."""
GENERATORS = (
    "cryptsetup", "debug", "fstab", "getty", "gpt-auto", "hibernate-resume", "integritysetup",
    "rc-local", "run", "system-update", "sysv", "veritysetup",
)  # fmt: skip
"""Programs that would look for units at each boot; the machine has all of its units as files."""


UNITS = {
    "default.target": "/lib/systemd/system/multi-user.target",
    "sockets.target.wants/ssh.socket": "/lib/systemd/system/ssh.socket",
}
"""What is started; an sshd for a connection alone."""


@dataclass(frozen=True)
class Kind:
    """An architecture: Debian's name, its kernel's package, the emulator and its arguments."""

    debian: str
    kernel: str
    emulator: str
    machine: Sequence[str]
    cpu: str
    console: str
    words: str
    """For the kernel."""


QUICK = "loglevel=4 systemd.show_status=1 systemd.log_color=0 mitigations=off audit=0"
KINDS = {
    "x86_64": Kind(
        "amd64", "linux-image-cloud-amd64", "qemu-system-x86_64", ("-M", "q35"), "max,la57=off",
        "ttyS0", f"{QUICK} cryptomgr.notests no_timer_check tsc=reliable",
    ),
    "aarch64": Kind(
        "arm64", "linux-image-arm64", "qemu-system-aarch64", ("-M", "virt"), "cortex-a72",
        "ttyAMA0", QUICK,
    ),
}  # fmt: skip


def cache() -> Path:
    return Path(os.environ.get("WINNOW_BOARDS", Path.home() / ".cache" / "winnow-boards"))


@dataclass(frozen=True)
class Image:
    """The files of a machine in a folder."""

    machine: str
    kind: Kind
    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.gz"


def made(machine: str) -> Image:
    """The image of an architecture, made where it is not there yet."""
    kind = KINDS[machine]
    packages = cache() / f"{machine}-packages-{_digest(SUITE, PACKAGES, kind.debian, kind.kernel)}"
    recipe = (MODULES, DISK, INIT, WITNESS, PATIENT, MASKED, GENERATORS, UNITS, kind)
    image = Image(machine, kind, cache() / f"{machine}-{_digest(packages.name, *recipe)}")
    for folder in (packages, image.folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not image.key.exists():
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(image.key)]
        subprocess.run(key, check=True)
    if not image.initrd.exists():
        _kernel(image, packages)
    if not image.disk.exists():
        _disk(image, packages)
    return image


def _digest(*parts: object) -> str:
    return f"{zlib.crc32(repr(parts).encode()):08x}"


def _debootstrap(kind: Kind, variant: str, packages: str, to: Path) -> None:
    """Unpacked aside: a folder that is there is whole."""
    if to.exists():
        return
    aside = to.with_name(f"{to.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    command = ["mmdebstrap", "--mode=root", f"--variant={variant}", f"--arch={kind.debian}"]
    command += [f"--include={packages}", "--skip=check/qemu", SUITE, str(aside)]
    subprocess.run(command, check=True)
    aside.rename(to)


def _kernel(image: Image, packages: Path) -> None:
    root = packages / "kernel"
    _debootstrap(image.kind, "extract", f"{image.kind.kernel},busybox-static", root)
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, image.kernel)
    modules = [m for name in MODULES for m in (root / "lib" / "modules").rglob(f"{name}.ko")]
    first = initial(image.folder / "initrd", root / "bin" / "busybox", modules)
    image.initrd.write_bytes(gzip.compress(first))


def initial(tree: Path, busybox: Path, modules: Sequence[Path]) -> bytes:
    """The initial file system, made in a folder, with modules that are loaded in their order."""
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "modules"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin" / "busybox")
    for number, file in enumerate(modules):
        shutil.copy(file, tree / "modules" / f"{number:02d}-{file.name}")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    return _packed(tree)


def _packed(tree: Path) -> bytes:
    """A folder as a cpio archive of the form "newc" (kernel: early-userspace/buffer-format)."""
    archive = b""
    for path in [*sorted(tree.rglob("*")), None]:
        name = "TRAILER!!!" if path is None else str(path.relative_to(tree))
        data = path.read_bytes() if path is not None and path.is_file() else b""
        mode = 0 if path is None else path.stat().st_mode
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        for part in (head, data):
            archive += part + bytes(-len(part) % 4)
    return archive


def _disk(image: Image, packages: Path) -> None:
    made = packages / "root"
    _debootstrap(image.kind, "minbase", PACKAGES, made)
    root = image.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "--archive", made, root], check=True)
    ssh = root / "root" / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_bytes(image.key.with_suffix(".pub").read_bytes())
    (root / "etc/fstab").write_text("")
    (root / "etc/hostname").write_text("board\n")
    units = root / "etc/systemd/system"
    (root / "etc/systemd/system.conf.d").mkdir(exist_ok=True)
    (root / "etc/systemd/system.conf.d" / "patient.conf").write_text(PATIENT)
    (units / "winnow.service.d").mkdir(exist_ok=True)
    (units / "winnow.service.d" / "witness.conf").write_text(WITNESS)
    for unit in MASKED:
        _link(units / unit, "/dev/null")
    for name in GENERATORS:
        _link(root / "etc/systemd/system-generators" / f"systemd-{name}-generator", "/dev/null")
    for place, to in UNITS.items():
        _link(units / place, to)
    (units / "multi-user.target.wants" / "ssh.service").unlink(missing_ok=True)
    aside = image.disk.with_suffix(".part")
    aside.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, aside, DISK], check=True)
    aside.rename(image.disk)
    shutil.rmtree(root)


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(to)
