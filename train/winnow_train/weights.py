"""Public ImageNet weights of the backbones: their names, files and digests, and fetching them.

They are the files of `keras.applications` without the classifier (Apache-2.0), at the addresses
that its source names. MD5 digests are those in that source; where it has none, none is published,
and the SHA-256 of the first fetch is kept in SHA256SUMS.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from winnow_base.errors import DataError, NetworkError, WeightsError
from winnow_base.files import make_folder
from winnow_base.progress import ByteBar
from winnow_edge.files import write_file
from winnow_train.data.download import Patience, alone, download

BASE_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
WEIGHTS_VARIABLE = "WINNOW_WEIGHTS"
SUMS = "SHA256SUMS"
#: Names that shipped recipes give to files of other hands.
_OWN_NAME = re.compile(r"keras_mobilenet_v(?P<version>[12])_(?P<net>[\d.]+_\d+)_")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOBILENET_ALPHAS = {"0.25": "2_5", "0.5": "5_0", "0.75": "7_5", "1.0": "1_0"}
_MOBILENET_SIDES = (128, 160, 192, 224)
_V2_SIDES = dict.fromkeys(("0.35", "0.5", "0.75", "1.0"), (96, 128, 160, 192, 224)) | {
    "1.3": (224,),
    "1.4": (224,),
}
_TAIL = "_weights_tf_dim_ordering_tf_kernels_notop.h5"
_OTHERS = {
    "resnet50v2": (
        "ResNet50V2",
        224,
        f"resnet/resnet50v2{_TAIL}",
        "fac2f116257151a9d068a22e544a4917",
    ),
    "resnet101v2": (
        "ResNet101V2",
        224,
        f"resnet/resnet101v2{_TAIL}",
        "c0ed64b8031c3730f411d2eb4eea35b5",
    ),
    "xception": (
        "Xception",
        299,
        f"xception/xception{_TAIL}",
        "b0042744bf5b25fce3cb969f33bebb97",
    ),
    "inceptionv3": (
        "InceptionV3",
        299,
        f"inception_v3/inception_v3{_TAIL}",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "nasnetmobile": (
        "NASNetMobile",
        224,
        "nasnet/NASNet-mobile-no-top.h5",
        "1ed92395b5b598bdda52abe5c0dbfd63",
    ),
}


@dataclass(frozen=True)
class PublicWeights:
    """One file: its short `name`, the net it fits, its path below the server, and its MD5.

    `alpha` is the recipe's `model.alpha`; `side` the pixels of the tiles it was trained on.
    """

    name: str
    backbone: str
    alpha: float
    side: int
    path: str
    md5: str | None = None

    @property
    def file(self) -> str:
        """The file's own name, as Keras keeps it."""
        return self.path.rsplit("/", 1)[1]


def _catalogue() -> dict[str, PublicWeights]:
    found = [
        PublicWeights(
            f"mobilenet-{alpha}-{side}",
            "MobileNet",
            float(alpha),
            side,
            f"mobilenet/mobilenet_{written}_{side}_tf_no_top.h5",
        )
        for alpha, written in _MOBILENET_ALPHAS.items()
        for side in _MOBILENET_SIDES
    ]
    found += [
        PublicWeights(
            f"mobilenetv2-{alpha}-{side}",
            "MobileNetV2",
            float(alpha),
            side,
            "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_"
            f"{alpha}_{side}_no_top.h5",
        )
        for alpha, sides in _V2_SIDES.items()
        for side in sides
    ]
    for size, md5 in (
        ("large", "ec5221f64a2f6d1ef965a614bdae7973"),
        ("small", "cde8136e733e811080d9fcd8a252f7e4"),
    ):
        path = f"mobilenet_v3/weights_mobilenet_v3_{size}_minimalistic_224_1.0_float_no_top_v2.h5"
        backbone = f"MobileNetV3{size.capitalize()}"
        found.append(PublicWeights(f"mobilenetv3-{size}", backbone, 1.0, 224, path, md5))
    found += [
        PublicWeights(name, backbone, 0.0, side, path, md5)
        for name, (backbone, side, path, md5) in _OTHERS.items()
    ]
    return {w.name: w for w in found}


CATALOGUE = _catalogue()


def public_weights(name: str) -> PublicWeights | None:
    """The public weights of a short name, or of a file's own name."""
    by_file = {w.file: w for w in CATALOGUE.values()}
    return CATALOGUE.get(name) or by_file.get(name)


def find_weights(weights: str, folder: Path | None) -> str | None:
    """What `keras.applications` takes: None, "imagenet", or the path of a weights file.

    `weights` is a recipe's `model.weights`. Raises WeightsError where the file is not there.
    """
    if weights in ("", "imagenet"):
        return weights or None
    public = public_weights(weights)
    file = public.file if public else weights
    for home in (folder, own_folder(), Path()):
        if home is not None and (home / file).is_file():
            return str(home / file)
    first = f"winnow weights fetch {public.name}, or " if public else _public_instead(file)
    raise WeightsError(
        "no such weights file",
        where=file,
        hint=f"{first}give its folder with --weights-dir or {WEIGHTS_VARIABLE}",
    )


def _public_instead(file: str) -> str:
    """What a hint says of a file whose net has public weights under another name."""
    match = _OWN_NAME.match(file)
    name = (
        f"mobilenet{'v2' if match['version'] == '2' else ''}-{match['net'].replace('_', '-')}"
        if match
        else ""
    )
    if name not in CATALOGUE:
        return ""
    return f"winnow weights fetch {name} and --set 'model.weights=\"{name}\"', or "


def own_folder() -> Path | None:
    """The folder that WINNOW_WEIGHTS names, or None."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    return Path(named) if named else None


@dataclass(frozen=True)
class Fetched:
    """A weights file in its folder, its SHA-256, and whether it was there before."""

    path: Path
    sha256: str
    was_there: bool


def fetch(
    weights: PublicWeights,
    folder: Path,
    *,
    base_url: str = BASE_URL,
    patience: Patience | None = None,
    meter: ByteBar,
) -> Fetched:
    """Bring a weights file into `folder`, going on with what an earlier call left.

    A file that is there is checked, not fetched. Raises DataError for one with another digest than
    the published or the first one, NetworkError saying where the file is to be had, and the other
    errors of `download`.
    """
    target = make_folder(folder) / weights.file
    url = f"{base_url.rstrip('/')}/{weights.path}"
    with alone(target.parent):
        was_there = target.is_file()
        if not was_there:
            try:
                download(
                    url, target, md5=weights.md5, check=damaged, patience=patience, meter=meter
                )
            except NetworkError as error:
                raise NetworkError(
                    error.what,
                    where=error.where,
                    hint=f"bring {BASE_URL}/{weights.path} to {target} by any other way, "
                    "then give this command again to have it checked",
                ) from error
        return Fetched(target, _checked(weights, target), was_there)


def _checked(weights: PublicWeights, target: Path) -> str:
    """SHA-256 of a file that is what it should be; noted beside it."""
    wrong = damaged(target)
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if weights.md5 is not None and wrong is None:
        with target.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        wrong = None if md5 == weights.md5 else f"its md5 is {md5}, not {weights.md5}"
    sums = _sums(target.parent / SUMS)
    known = sums.setdefault(target.name, sha256)
    if wrong is None and known != sha256:
        wrong = f"its sha256 is {sha256}, it was {known} ({SUMS}) when it was fetched"
    if wrong is not None:
        raise DataError(wrong, where=target, hint="remove it and fetch it again")
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_file(target.parent / SUMS, text)
    return sha256


def _sums(path: Path) -> dict[str, str]:
    """Digests by file name, in the format of sha256sum(1); other lines are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot be read", where=path, hint="mend it or remove it") from error
    rows = [line.split("  ", 1) for line in lines]
    return {row[1]: row[0] for row in rows if len(row) == 2}


def damaged(path: Path) -> str | None:
    """Say how a file is no whole HDF5 file, or None.

    Its first block tells where the file ends (HDF5 file format specification 3.0, II.A: end of
    file address of superblock versions 0 to 3).
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head.startswith(_SIGNATURE) or len(head) < 64:
        return "it is no HDF5 file"
    place = 40 if head[8] < 2 else 28
    width = head[13] if head[8] < 2 else head[9]
    if width != 8 or head[8] > 3:
        return None
    (end,) = struct.unpack_from("<Q", head, place + (4 if head[8] == 1 else 0))
    size = path.stat().st_size
    return None if end == size else f"it has {size:,} bytes, {end:,} are expected"
