"""A board at the other end of ssh: commands, files and what it is."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow_base.errors import DeployError

SSH_FAILED = 255
"""What ssh(1) exits with when ssh itself failed, and not the command."""
PATIENCE_S = 120.0
"""So long a board may take for a step that only looks or switches."""
LONG_S = 3600.0
"""So long it may copy, install or test."""
_BEGIN = "winnow-deploy: begin"
"""Printed before a script's own output: what a shell prints as it starts is none of it."""
_GLIBC = re.compile(r"glibc (\d{1,3})\.(\d{1,3})(?:\.\d+)*")

_FACTS = r"""
echo "home=$HOME"
echo "user=$(id -un)"
echo "uid=$(id -u)"
command -v tar >/dev/null && echo "tar=yes"
if [ -d /run/systemd/system ]; then
    echo "systemd=yes"
    if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then echo "root=yes"; fi
    if systemctl --user show-environment >/dev/null 2>&1; then echo "user_manager=yes"; fi
fi
# An Edge TPU on PCIe, or on USB before and after its firmware is loaded.
if ls /dev/apex_* >/dev/null 2>&1 ||
    cat /sys/bus/usb/devices/*/idVendor 2>/dev/null | grep -qE '^(1a6e|18d1)$'; then
    echo "edgetpu=yes"
fi
for python in $1 python3.13 python3.12 python3.11 python3; do
    "$python" - 2>/dev/null <<'PYTHON' && break
import sys
if sys.version_info < (3, 11):
    print("old_python=%d.%d" % sys.version_info[:2])
    sys.exit(1)
import platform
print("python=" + sys.executable)
print("version=%d.%d.%d" % sys.version_info[:3])
print("bits=%d" % (64 if sys.maxsize > 2**32 else 32))
print("machine=" + platform.machine())
print("libc=" + " ".join(platform.libc_ver()))
try:
    import ensurepip, venv
    print("venv=yes")
except ImportError:
    pass
PYTHON
done
exit 0
"""


@dataclass(frozen=True)
class Facts:
    """What a board says of itself."""

    home: str
    user: str
    root: bool
    """Whether commands can be run as root without a password."""
    systemd: bool
    user_manager: bool
    """Whether a systemd of the user's own answers."""
    python: str
    version: str
    machine: str
    glibc: tuple[int, int]
    edgetpu: bool = False


@dataclass(frozen=True)
class Board:
    """`host` as ssh takes it (user@host), with `options` for every call of ssh."""

    host: str
    identity: Path | None = None
    port: int | None = None
    options: Sequence[str] = field(default_factory=tuple)

    def run(
        self,
        step: str,
        script: str,
        *arguments: str,
        stdin: bytes | None = None,
        patience_s: float = PATIENCE_S,
    ) -> str:
        """Run a POSIX shell script there; its output.

        Raises DeployError naming the step, with the last line that the script said.
        """
        code, output, errors = self.attempt(script, *arguments, stdin=stdin, patience_s=patience_s)
        if code:
            raise self.failure(step, code, errors or output)
        return output

    def attempt(
        self,
        script: str,
        *arguments: str,
        stdin: bytes | None = None,
        patience_s: float = PATIENCE_S,
    ) -> tuple[int, str, str]:
        """The same, giving exit code, output and errors instead of raising. Raises DeployError
        where the board does not answer for `patience_s` seconds."""
        begun = f"echo '{_BEGIN}'\n{script}"
        remote = shlex.join(["sh", "-c", begun, "winnow", *arguments])
        try:
            done = subprocess.run(
                [*self._ssh(), self.host, remote],
                input=stdin if stdin is not None else b"",
                capture_output=True,
                check=False,
                timeout=patience_s,
            )
        except FileNotFoundError:
            raise DeployError(
                "there is no ssh here", hint="install an OpenSSH client (openssh-client)"
            ) from None
        except subprocess.TimeoutExpired:
            raise DeployError(
                f"does not answer for {patience_s:g} s",
                where=self.host,
                hint="what it was told last may still go on there; look at it, then deploy again",
            ) from None
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return done.returncode, out.partition(f"{_BEGIN}\n")[2], err

    def failure(self, step: str, code: int, said: str) -> DeployError:
        """The error for a step that ended with `code`."""
        lines = [line for line in said.splitlines() if line.strip()]
        last = lines[-1].strip() if lines else f"exit code {code}"
        if code == SSH_FAILED:
            return DeployError(
                f"{step}: {last}",
                where=self.host,
                hint="try `ssh -o BatchMode=yes`: it must get in with a key and ask nothing",
            )
        return DeployError(f"{step} failed: {last}", where=self.host)

    def typed(self, command: str) -> str:
        """What a person types here to have a shell command run there."""
        return shlex.join([*self._ssh_of_people(), self.host, command])

    def facts(self, python: str | None = None) -> Facts:
        """Look at the board. Raises DeployError where Winnow cannot be installed there."""
        output = self.run("connect", _FACTS, python or "")
        known = dict(line.partition("=")[::2] for line in output.splitlines() if "=" in line)
        if "tar" not in known:
            raise DeployError("there is no tar", where=self.host, hint="install it there")
        if "python" not in known:
            old = known.get("old_python")
            raise DeployError(
                f"has Python {old}, Winnow needs 3.11 or newer" if old else "has no Python",
                where=self.host,
                hint="install one there, or name it with --python (docs/deploy.md)",
            )
        told = {key: known.get(key, "") for key in ("home", "user", "version", "machine", "bits")}
        if "" in told.values() or not told["home"].startswith("/"):
            lacking = ", ".join(key for key, value in told.items() if not value) or "home"
            raise DeployError(
                f"does not say its {lacking}", where=self.host, hint="is its shell a POSIX shell?"
            )
        if told["bits"] != "64":
            raise DeployError(
                f"runs a 32-bit system ({told['machine']})",
                where=self.host,
                hint="install a 64-bit one: there is no LiteRT for this",
            )
        if "venv" not in known:
            raise DeployError(
                f"{known['python']} has no venv module",
                where=self.host,
                hint="on Debian: sudo apt-get install python3-venv",
            )
        return Facts(
            home=told["home"],
            user=told["user"],
            root="root" in known,
            systemd="systemd" in known,
            user_manager="user_manager" in known,
            python=known["python"],
            version=told["version"],
            machine=told["machine"],
            glibc=self._glibc(known.get("libc", "")),
            edgetpu="edgetpu" in known,
        )

    def send(self, step: str, folder: str, files: Mapping[str, bytes | Path]) -> None:
        """Put files (names relative to `folder`) there, as one tar stream. Raises DeployError."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in files.items():
                data = content.read_bytes() if isinstance(content, Path) else content
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                tar.addfile(member, io.BytesIO(data))
        script = 'mkdir -p "$1" && tar -xf - -C "$1" && sync'
        self.run(step, script, folder, stdin=archive.getvalue(), patience_s=LONG_S)

    def _ssh(self) -> list[str]:
        automatic = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]
        return [*self._ssh_of_people(), *automatic, "-o", "ServerAliveInterval=15"]

    def _ssh_of_people(self) -> list[str]:
        command = ["ssh"]
        if self.port is not None:
            command += ["-p", str(self.port)]
        if self.identity is not None:
            command += ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"]
        for option in self.options:
            command += ["-o", option]
        return command

    def _glibc(self, text: str) -> tuple[int, int]:
        found = _GLIBC.fullmatch(text)
        if found is None:
            raise DeployError(
                "its C library is not glibc", where=self.host, hint="LiteRT's wheels need glibc"
            )
        return int(found[1]), int(found[2])
