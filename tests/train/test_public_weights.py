"""Public weights: their catalogue, and fetching them over a real HTTP server."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.running import winnow
from tests.train.serving import Site
from winnow_base.errors import WeightsError
from winnow_train.weights import CATALOGUE, damaged, find_weights, public_weights

SIZE = 40_000
NAME = "mobilenet-0.25-128"


def hdf5(size: int = SIZE) -> bytes:
    """What begins as an HDF5 file of `size` bytes (superblock version 0)."""
    head = b"\x89HDF\r\n\x1a\n" + bytes(5) + bytes([8, 8]) + bytes(25) + size.to_bytes(8, "little")
    return head + bytes(range(256)) * (size // 256) + bytes(size - len(head) - size // 256 * 256)


@pytest.fixture
def content(site: Site) -> bytes:
    """A weights file on the server."""
    whole = hdf5()[:SIZE]
    site.files = {f"/{CATALOGUE[NAME].path}": whole}
    return whole


def bring(site: Site, folder: Path, *more: object) -> tuple[int, str, str]:
    options = ("--base-url", site.url, "--pause", 0, "--stall", 1, "--tries", 2)
    done = winnow("weights", "fetch", NAME, "--to", folder, *options, *more)
    return done.returncode, done.stdout, done.stderr


def test_a_break_is_resumed_and_the_digest_kept(site: Site, content: bytes, tmp_path: Path) -> None:
    site.faults = ["break"]
    code, said, _ = bring(site, tmp_path / "w")
    assert code == 0
    path = tmp_path / "w" / CATALOGUE[NAME].file
    digest = hashlib.sha256(content).hexdigest()
    assert path.read_bytes() == content
    assert site.requests[1][1] == f"bytes={SIZE // 2}-"
    assert digest in said
    assert "no digest is published" in said
    assert (tmp_path / "w" / "SHA256SUMS").read_text() == f"{digest}  {path.name}\n"
    assert find_weights(NAME, tmp_path / "w") == str(path)
    assert "already there" in bring(site, tmp_path / "w")[1]
    assert len(site.requests) == 2


def test_a_file_that_changed_since_is_refused(site: Site, content: bytes, tmp_path: Path) -> None:
    assert bring(site, tmp_path)[0] == 0
    path = tmp_path / CATALOGUE[NAME].file
    path.write_bytes(content[:-1] + b"?")
    code, _, said = bring(site, tmp_path)
    assert code == 3
    assert "when it was fetched; remove it and fetch it again" in said
    path.write_bytes(content[:-9])
    assert "40,000 are expected" in bring(site, tmp_path)[2]


def test_what_is_no_weights_file_is_refused(site: Site, tmp_path: Path) -> None:
    site.files = {f"/{CATALOGUE[NAME].path}": b"<html>please log in</html>"}
    code, _, said = bring(site, tmp_path)
    assert code == 3
    assert "came corrupt twice: it is no HDF5 file" in said
    assert not list(tmp_path.glob("*.h5*"))


def test_another_digest_than_the_published_is_refused(site: Site, tmp_path: Path) -> None:
    weights = CATALOGUE["mobilenetv3-small"]
    site.files = {f"/{weights.path}": hdf5()[:SIZE]}
    done = winnow(
        "weights", "fetch", weights.name, "--to", tmp_path, "--base-url", site.url, "--pause", 0
    )
    assert done.returncode == 3
    assert f"not {weights.md5}" in done.stderr


def test_offline_says_where_the_file_is_to_be_had(tmp_path: Path) -> None:
    code, _, said = bring(Site(url="http://127.0.0.1:1"), tmp_path)
    assert code == 4
    assert said.splitlines()[-1].startswith("winnow: 127.0.0.1:1: cannot be reached")
    assert CATALOGUE[NAME].path in said
    assert "https://storage.googleapis.com/tensorflow/keras-applications/" in said
    assert str(tmp_path / CATALOGUE[NAME].file) in said


def test_unknown_names_and_a_disk_that_does_not_take_it(site: Site, tmp_path: Path) -> None:
    done = winnow("weights", "fetch", "mobilenet-7", "--to", tmp_path)
    assert (done.returncode, "winnow weights list" in done.stderr) == (3, True)
    (tmp_path / "file").touch()
    code, _, said = bring(site, tmp_path / "file")
    assert (code, len(said.splitlines())) == (3, 1)


def test_recipes_name_public_weights_by_either_name(tmp_path: Path) -> None:
    weights = CATALOGUE["mobilenetv2-0.35-96"]
    assert public_weights(weights.file) == weights
    with pytest.raises(WeightsError, match=r"winnow weights fetch mobilenetv2-0\.35-96, or"):
        find_weights(weights.name, tmp_path)
    theirs = "keras_mobilenet_v1_0.5_224_imagenet_no_top.weights.h5"
    with pytest.raises(WeightsError, match=r"""fetch mobilenet-0\.5-224 and --set 'model\."""):
        find_weights(theirs, tmp_path)
    rows = json.loads(winnow("weights", "list", "--json").stdout)
    assert rows[weights.name]["url"].endswith(weights.path)
    assert len({row["file"] for row in rows.values()}) == len(rows)


def test_digests_and_file_names_are_those_of_keras() -> None:
    """Every digest stands in the source of `keras.applications`, and so does every pattern."""
    home = importlib.metadata.distribution("keras").locate_file("keras/src/applications")
    source = "".join(p.read_text(encoding="utf-8") for p in sorted(Path(str(home)).glob("*.py")))
    for weights in CATALOGUE.values():
        assert weights.md5 is None or f'"{weights.md5}"' in source
        folder = weights.path.partition("/")[0]
        assert re.search(rf'keras-applications/"?\s*"?{folder}/', source)
        beginning = re.match(r"mobilenet_v2_weights|mobilenet_|[a-zA-Z0-9]+", weights.file)
        assert beginning is not None
        assert beginning[0] in source


def test_real_weights_are_whole_and_a_cut_one_is_not(
    backbone_weights: Path, tmp_path: Path
) -> None:
    real = sorted(backbone_weights.glob("*.h5"))
    assert [damaged(path) for path in real] == [None] * len(real)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(real[0].read_bytes()[:-1])
    assert "are expected" in (damaged(cut) or "")
    assert replace(CATALOGUE[NAME], path="a/b.h5").file == "b.h5"
