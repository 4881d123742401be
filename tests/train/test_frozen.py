"""The transfer-learning baseline: a frozen backbone whose features are computed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow_base.errors import RecipeError
from winnow_train.recipe import Recipe, read_recipe


@pytest.fixture(scope="module")
def recipe(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    text = recipe_file.read_text()
    text = text.replace("dropout = 0.1", "dropout = 0.2\nfrozen = true\nhead_batchnorm = true")
    start, end = text.index("[train]"), text.index("[export]")
    text = text[:start] + (
        '[train]\noptimizer = "adam"\nschedule = "constant"\nwarmup_epochs = 0\nepochs = 40\n'
        "batch = 16\nlearning_rate = 0.05\npatience = 2\n"
        '[augment]\nsymmetry = "none"\n'
    ) + text[end:]  # fmt: skip
    path = tmp_path_factory.mktemp("frozen") / "frozen.toml"
    path.write_text(text)
    return read_recipe(path)


def test_only_the_head_learns_and_it_stops_when_val_does_not_fall(
    recipe: Recipe, shapes: Path, tmp_path: Path
) -> None:
    import keras

    from winnow_base.progress import Progress
    from winnow_train import checkpoints, model, run

    class Killed(Progress):
        """A run that ends in its third epoch."""

        @contextmanager
        def training(self, name: str, epochs: int, steps: int) -> Iterator[Any]:
            with super().training(name, epochs, steps) as bar:
                seen = bar.epoch

                def epoch(line: dict[str, Any]) -> None:
                    seen(line)
                    if line["epoch"] == 3:
                        raise KeyboardInterrupt

                bar.epoch = epoch  # type: ignore[method-assign]
                yield bar

    card = run.train(recipe, shapes, tmp_path / "whole", progress=Progress())
    with pytest.raises(KeyboardInterrupt):
        run.train(recipe, shapes, tmp_path / "killed", progress=Killed())
    assert not (tmp_path / "killed" / "model.json").exists()
    run.train(recipe, shapes, tmp_path / "killed", progress=Progress())
    meta, arrays = checkpoints.read_checkpoint(tmp_path / "whole" / "checkpoint.npz")
    other, resumed = checkpoints.read_checkpoint(tmp_path / "killed" / "checkpoint.npz")
    assert meta["history"] == other["history"]
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, resumed[name])

    losses = [line["val_loss"] for line in meta["history"]]
    assert len(losses) < recipe.train.epochs
    assert len(losses) - 1 - int(np.argmin(losses)) == recipe.train.patience
    bare = model.build(recipe.model, recipe.input, {"folder": 3}, None, recipe.seed)
    kept = dict(zip([w.path for w in bare.weights], checkpoints.kept_weights(arrays), strict=True))
    changed = {w.path for w in bare.weights if not np.array_equal(w.numpy(), kept[w.path])}
    assert {path.split("/")[0] for path in changed} == {"head-norm", "head-folder"}

    exported = keras.models.load_model(tmp_path / "whole" / "model.keras", compile=False)
    assert not any(isinstance(x, keras.layers.BatchNormalization) for x in exported.layers)
    assert card["metrics"]["accuracy"] == meta["history"][int(np.argmin(losses))]["val_accuracy"]


def test_features_and_heads_together_are_the_net(recipe: Recipe) -> None:
    from winnow_train import frozen, model

    assert frozen.has_fixed_features(recipe)
    net = model.build(recipe.model, recipe.input, {"a": 3, "b": 2}, None, 4)
    tiles = np.random.default_rng(0).random((4, 32, 32, 1), np.float32)
    heads = frozen.heads_of(net)
    assert {v.path.split("/")[0] for v in heads.trainable_variables} == {
        "head-norm", "head-a", "head-b"
    }  # fmt: skip
    features = net.get_layer("pool").output
    import keras

    made = heads(keras.Model(net.input, features)(tiles))
    for name, logits in net(tiles).items():
        np.testing.assert_allclose(made[name], logits, rtol=1e-5, atol=1e-6)


def test_layers_up_to_a_named_one_are_not_trained(recipe_file: Path) -> None:
    from winnow_train import model

    recipe = read_recipe(recipe_file, ['model.frozen_to = "conv_pw_1_relu"'])
    net = model.build(recipe.model, recipe.input, {"folder": 3}, None, recipe.seed)
    learning = {layer.name for layer in net.layers if layer.trainable_weights}
    held = {layer.name for layer in net.layers if layer.weights} - learning
    assert {"conv1", "conv1_bn", "conv_pw_1", "conv_pw_1_bn"} <= held
    assert {"conv_dw_2", "conv_pw_2_bn", "head-folder"} <= learning
    # Their BatchNorms keep their statistics too.
    before = net.get_layer("conv_pw_1_bn").moving_mean.numpy()
    net(np.ones((4, 32, 32, 1), np.float32), training=True)
    np.testing.assert_array_equal(net.get_layer("conv_pw_1_bn").moving_mean.numpy(), before)


def test_an_unknown_layer_to_freeze_to_is_refused(recipe_file: Path) -> None:
    from winnow_train import model

    recipe = read_recipe(recipe_file, ['model.frozen_to = "conv_99"'])
    with pytest.raises(RecipeError, match=r"model\.frozen_to is 'conv_99', no layer of MobileNet"):
        model.build(recipe.model, recipe.input, {"folder": 3}, None, recipe.seed)
