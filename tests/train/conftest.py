"""A small labelled set with something to learn, and a recipe that learns it in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.serving import Site, serve

# Two blocks of the backbone: Keras takes its time for every layer.
RECIPE = """
about = "discs, bars and nothing"
seed = 5
[data]
dataset = "folder"
[input]
height = 32
width = 32
[model]
backbone = "MobileNet"
alpha = 0.25
weights = ""
last = "conv_pw_2_relu"
dropout = 0.1
batchnorm_momentum = 0.8
[train]
epochs = 3
batch = 16
learning_rate = 3e-3
logit_adjustment = 0.5
balance = 0.3
average_last = 2
[augment]
zoom = [0.8, 1.2]
gain = 0.1
[export]
prior = 1.0
"""


def draw(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A rendered tile uint8 [40, 40]: noise, a bright disc, or a dark bar."""
    tile = rng.normal(120, 8, (40, 40))
    row, col = rng.uniform(14, 26, 2)
    y, x = np.mgrid[:40, :40]
    if kind == "disc":
        tile[(y - row) ** 2 + (x - col) ** 2 < 60] += 90
    elif kind == "bar":
        tile[:, int(col) - 3 : int(col) + 3] -= 90
    return np.clip(tile, 1, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder data set: train 40 per class from four sources, val 10 from two others."""
    root = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(11)
    for split, sources, each in (("train", "abcd", 10), ("val", "ef", 5)):
        for kind in ("bar", "disc", "plain"):
            folder = root / split / kind
            folder.mkdir(parents=True)
            for source in sources:
                for i in range(each):
                    Image.fromarray(draw(kind, rng)).save(folder / f"site{source}_{kind}_{i}.png")
    return root


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe as a file."""
    path = tmp_path_factory.mktemp("recipe") / "shapes.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def site() -> Iterator[Site]:
    """A real server on a real socket."""
    with serve() as made:
        yield made
