"""A bundle as a teacher: its int8 weights as the floats of a run folder that training starts from.

A net whose run folder is gone is still in its bundle. Weights are scale x code, channel by channel,
so the net gives the bundle's logits but for rounding. Its BatchNorms were folded; they are put back
with the statistics of given tiles, which leaves the net's answers as they are.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from winnow_base.errors import ModelError
from winnow_base.files import make_folder
from winnow_edge.bundle import Bundle, open_bundle
from winnow_train import model
from winnow_train.checkpoints import trained_part
from winnow_train.recipe import Recipe, parse_recipe
from winnow_train.runs import CARD, CHECKPOINT, MODEL

_TYPES = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}
_CONVOLUTIONS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)


def unpack(path: Path, folder: Path, tiles: np.ndarray, *, dataset: str = "") -> Path:
    """Write the bundle at `path` as a run folder; BatchNorm statistics are those of `tiles`.

    `tiles` uint8 [n, H, W, C] of the bundle's input size. With `dataset` its head is that of the
    data set of this name, so that another training of its classes starts from it. Raises
    ModelError for a bundle that does not say which recipe made it, or whose net is not that of its
    recipe.
    """
    bundle = open_bundle(path)
    held = bundle.manifest.training.get("recipe")
    if not isinstance(held, dict):
        raise ModelError("does not say which recipe made it", where=path)
    recipe = parse_recipe(held, where=str(path))
    if dataset:
        data = replace(recipe.data, dataset=dataset, along=(), borrow=())
        recipe = replace(recipe, data=data)
    net = _net_of(bundle, recipe, path)
    _measure(net, tiles)
    make_folder(folder)
    bias = _shift(bundle, recipe)
    exported = model.export(net, recipe.data.dataset, bias if bias.any() else None)
    exported.save(folder / MODEL)
    weights = {f"weight-{i}": np.asarray(w) for i, w in enumerate(net.get_weights())}
    meta = {"recipe": trained_part(recipe), "data": bundle.sha256, "history": []}
    np.savez(folder / CHECKPOINT, meta=np.array(json.dumps(meta)), **weights)
    (folder / CARD).write_text(json.dumps(_card(bundle, recipe), indent=1) + "\n", "utf-8")
    return folder


def _net_of(bundle: Bundle, recipe: Recipe, path: Path) -> keras.Model:
    """The recipe's net with the bundle's weights, every BatchNorm doing nothing but add a bias."""
    own = recipe.data.dataset
    net = model.build(
        recipe.model, recipe.input, {own: len(bundle.manifest.classes)}, None, recipe.seed
    )
    convolutions = [x for x in net.layers if isinstance(x, layers.Conv2D | layers.DepthwiseConv2D)]
    norms = [x for x in net.layers if isinstance(x, layers.BatchNormalization)]
    held = _convolutions(bundle.model)
    shapes = [tuple(k.shape) for k, _ in held]
    if shapes != [_as_stored(x) for x in convolutions] or len(norms) != len(held) - 1:
        raise ModelError("its net is not a plain chain of its recipe's layers", where=path)
    for number, (layer, (kernel, bias)) in enumerate(zip(convolutions, held, strict=True)):
        if number == 0:
            kernel = kernel * model.PIXEL_SCALE
        if number == len(norms):
            layer.set_weights([kernel, bias - _shift(bundle, recipe)])
            break
        layer.set_weights([kernel])
        norm, ones = norms[number], np.ones(len(bias))
        norm.set_weights([ones * np.sqrt(1 + norm.epsilon), bias, 0 * ones, ones])
    return net


def _as_stored(layer: keras.layers.Layer) -> tuple[int, ...]:
    return tuple(layer.get_weights()[0].shape)


def _convolutions(flatbuffer: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels as Keras stores them, and biases, float64, of all convolutions in their order."""
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(flatbuffer, 0))
    graph, found = whole.subgraphs[0], []
    for operator in graph.operators:
        code = whole.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in _CONVOLUTIONS:
            kernel, bias = (
                _real(graph.tensors[i], whole.buffers) for i in list(operator.inputs)[1:3]
            )
            found.append((np.transpose(kernel, (1, 2, 3, 0)), bias))
    return found


def _real(tensor: Any, buffers: Any) -> np.ndarray:
    """A constant tensor as float64: code x scale, along the quantized axis."""
    raw = np.asarray(buffers[tensor.buffer].data, np.uint8).tobytes()
    codes = np.frombuffer(raw, _TYPES[tensor.type]).reshape(tensor.shape).astype(np.float64)
    scale = np.asarray(tensor.quantization.scale, np.float64)
    shape = [1] * codes.ndim
    if len(scale) > 1:
        shape[tensor.quantization.quantizedDimension] = len(scale)
    return np.asarray(codes * scale.reshape(shape))


def _measure(net: keras.Model, tiles: np.ndarray) -> None:
    """Give every BatchNorm the mean and variance of what it gets, and undo them by its weights."""
    norms = [x for x in net.layers if isinstance(x, layers.BatchNormalization)]
    probe = keras.Model(net.input, [x.input for x in norms])
    sums = [np.zeros((2, x.moving_mean.shape[0])) for x in norms]
    batches = [tiles[i : i + 64] for i in range(0, len(tiles), 64)]
    for batch in batches:
        for total, seen in zip(
            sums, probe(batch / np.float32(model.PIXEL_SCALE), training=False), strict=True
        ):
            values = np.asarray(seen, np.float64)
            total += [values.mean((0, 1, 2)), (values**2).mean((0, 1, 2))]
    for norm, total in zip(norms, sums, strict=True):
        mean, square = total / len(batches)
        variance = np.maximum(square - mean**2, 1e-6)
        bias = norm.get_weights()[1]
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + mean, mean, variance])


def _shift(bundle: Bundle, recipe: Recipe) -> np.ndarray:
    """The part of the log prior that is in the bundle's bias, float64 [K]: what was chosen by
    cross-validation, else what the recipe says."""
    training = bundle.manifest.training
    counts = training["counts"]["train"]
    each = np.array([counts[c] for c in bundle.manifest.classes], float)
    if bundle.manifest.head == "sigmoid":
        return np.zeros(len(each))
    prior = training.get("prior", recipe.export.prior) * recipe.train.logit_adjustment
    return np.asarray(prior * np.log(each / each.sum()))


def _card(bundle: Bundle, recipe: Recipe) -> dict[str, Any]:
    manifest, spec = bundle.manifest, bundle.manifest.input
    return {
        "recipe": recipe.as_dict(),
        "name": recipe.name,
        "classes": list(manifest.classes),
        "head": manifest.head,
        "input": {"height": spec.height, "width": spec.width, "channels": spec.channels},
        "temperature": manifest.temperature,
        "borderline": manifest.borderline,
        "training": {
            **{k: manifest.training[k] for k in ("counts", "sources", "split")},
            "dataset": recipe.data.dataset,
        },
        "lineage": {"teachers": [], "sources": manifest.training["sources"]["train"]},
        "metrics": {},
        "attribution": manifest.attribution,
    }
