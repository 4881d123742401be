"""Files written aside: whole or not there, one writer at a time, whatever was left before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from winnow_edge.downlink.acknowledgements import load_ack
from winnow_edge.errors import OutputError, WinnowEdgeError
from winnow_edge.files import SMALL_BYTES, write_aside, write_file
from winnow_edge.mission import load_mission


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with write_aside(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        stream.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("durable", [True, False])
def test_text_is_utf_8_and_its_folder_is_made(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_file(path, "80 °C", durable=durable)
    write_file(path, "81 °C", durable=durable)
    assert path.read_bytes() == b"81 \xc2\xb0C"


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), write_aside(path) as stream:
        stream.write(b"new")
        raise KeyError("halfway")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_new_file_takes_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a.bin", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    program = (
        "import os, sys; from winnow_edge.files import write_aside\n"
        "with write_aside(sys.argv[1]) as stream:\n"
        "    stream.write(b'x' * 100_000); stream.flush(); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -9
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin.part"]
    write_file(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_second_writer_waits_where_it_may_replace(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    second = threading.Thread(target=write_file, args=(path, b"second"))
    with write_aside(path) as stream:
        second.start()
        stream.write(b"the first, which is longer")
    second.join()
    assert path.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_second_writer_is_refused_where_it_may_not(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with write_aside(path, replace=False) as stream:
        stream.write(b"first")
        with (
            pytest.raises(OutputError, match="another process writes it; name another"),
            write_aside(path, replace=False, hint="name another"),
        ):
            pass
    assert path.read_bytes() == b"first"
    with pytest.raises(OutputError, match="is there already"), write_aside(path, replace=False):
        pass
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_errors_of_the_system_are_one_line(tmp_path: Path) -> None:
    missing = pytest.raises(OutputError, match="cannot be written: No such file")
    with missing, write_aside(tmp_path / "no" / "a.bin"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made: "):
        write_file(tmp_path / "file" / "deeper" / "a.bin", b"")
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        write_file(tmp_path, b"")


@pytest.mark.parametrize("place", ["/dev/zero", "pipe", "sparse", "."])
def test_what_might_never_end_is_not_read(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(SMALL_BYTES + 1)
    for read in (load_ack, load_mission):
        with pytest.raises(WinnowEdgeError, match=r"pipe or device|has more than|Is a directory"):
            read(tmp_path / place)


def test_a_pipe_keeps_its_place(tmp_path: Path) -> None:
    # So does a device: /dev/null is written to by every other program.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="is a pipe or device"):
        write_file(pipe, b"x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]
