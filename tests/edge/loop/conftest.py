"""What the tests of the loop fly: the probe's bundle with tiles of SIDE pixels, and its pool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from winnow_edge.bundle import Bundle
from winnow_edge.loop.interpreters import Interpreters
from winnow_edge.testing import probe_bundle

SIDE = 8


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return probe_bundle(tmp_path_factory.mktemp("bundle"), SIDE)


@pytest.fixture(scope="module")
def pool(bundle: Bundle) -> Iterator[Interpreters]:
    with Interpreters(bundle, "fake", 1) as one:
        yield one
