"""The zip archive of a bundle, in its one canonical encoding.

Written by hand so that its bytes depend on no library version; APPNOTE.TXT 6.3.10 (PKWARE),
sections 4.3.7 local header, 4.3.12 central directory, 4.3.16 its end record.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from winnow_edge.errors import BundleError

MANIFEST, MODEL, MODEL_EDGETPU, VERIFIER, GOLDEN, CARD = (
    "manifest.json",
    "model.tflite",
    "model_edgetpu.tflite",
    "verifier.tflite",
    "golden.npz",
    "card.md",
)
REQUIRED = (MANIFEST, MODEL, GOLDEN, CARD)
ORDER = (MANIFEST, MODEL, MODEL_EDGETPU, VERIFIER, GOLDEN, CARD)

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_VERSION_NEEDED = 10
_MADE_BY_UNIX = 3 << 8 | 20
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00, the first time a zip can hold
_MODE = 0o100644 << 16


def sha256(data: bytes) -> str:
    """Digest in hex."""
    return hashlib.sha256(data).hexdigest()


def damaged(path: Path, what: str) -> BundleError:
    """The error for a bundle that is not as it was written."""
    return BundleError(f"damaged bundle: {what}", where=path, hint="copy or convert it again")


def comment_of(manifest: bytes) -> bytes:
    """The archive's comment, which carries the digest of the manifest."""
    return b"winnow bundle; manifest sha256 " + sha256(manifest).encode("ascii")


def pack(members: Mapping[str, bytes]) -> bytes:
    """The archive of these members, by name."""
    body, central = io.BytesIO(), io.BytesIO()
    names = [name for name in ORDER if name in members]
    for name in names:
        data, encoded, offset = members[name], name.encode("ascii"), body.tell()
        common = (0, 0, _TIME, _DATE, zlib.crc32(data), len(data), len(data), len(encoded), 0)
        body.write(_LOCAL.pack(b"PK\x03\x04", _VERSION_NEEDED, *common) + encoded)
        body.write(data)
        tail = (0, 0, 0, _MODE, offset)
        central.write(
            _CENTRAL.pack(b"PK\x01\x02", _MADE_BY_UNIX, _VERSION_NEEDED, *common, *tail) + encoded
        )
    directory, start, comment = central.getvalue(), body.tell(), comment_of(members[MANIFEST])
    count = len(names)
    end = _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), start, len(comment))
    return body.getvalue() + directory + end + comment


def unpack(data: bytes, path: Path) -> tuple[dict[str, bytes], bytes]:
    """Members by name, and the comment. Raises BundleError for what `pack` cannot have made."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.filename not in ORDER:
                    raise damaged(path, f"unknown member {info.filename!r}")
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(data):
                    raise damaged(path, f"{info.filename} is not a stored member")
            members = {info.filename: archive.read(info) for info in archive.infolist()}
            comment = archive.comment
    except BundleError:
        raise
    except zipfile.BadZipFile as error:
        if not data.startswith(b"PK"):
            raise BundleError("is not a bundle (not a zip archive)", where=path) from None
        raise damaged(path, str(error).rstrip(".")) from None
    except Exception as error:  # zipfile lets struct, Unicode, NotImplemented ... errors through
        raise damaged(path, f"unreadable archive ({error})") from None
    missing = [name for name in REQUIRED if name not in members]
    if missing:
        raise BundleError(f"is not a bundle: no {', '.join(missing)} in it", where=path)
    return members, comment
