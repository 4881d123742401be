"""Recipes: TOML files that say how a model is trained, read into frozen dataclasses.

A recipe names no path of any machine: data comes with `--data`, a weights file is named by its
file name and looked up in `--weights-dir` or the folder that `WINNOW_WEIGHTS` names, or is
`"imagenet"` and Keras downloads it. An unknown key or a value out of range is refused by name.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow_base.errors import RecipeError, WeightsError

WEIGHTS_VARIABLE = "WINNOW_WEIGHTS"
RECIPE_FOLDERS = (
    Path(__file__).parent / "recipes",  # in a wheel
    Path(__file__).parent.parent / "recipes",  # in the repository
)


def _within(low: float, high: float, default: Any = dataclasses.MISSING, **kw: Any) -> Any:
    return field(default=default, metadata={"range": (low, high)}, **kw)


def _one_of(*choices: str, default: Any = dataclasses.MISSING) -> Any:
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class Data:
    """What is learned: the data set of the model's own head, and those trained along with it."""

    dataset: str = _one_of("hirise-v1", "hirise-v3", "msl", "folder")
    #: Data sets trained together with it, one head each, sharing the backbone.
    along: tuple[str, ...] = ()
    #: Classes whose tiles in the sets trained along teach the recipe's own head too, by their name;
    #: tiles that touch nodata are left out, since some sets call those "edge".
    borrow: tuple[str, ...] = ()
    #: Classes left out of the head, with their tiles (a class that has no training tile).
    drop: tuple[str, ...] = ()
    #: New class = old classes; `["*"]` takes the rest, a class named nowhere is left out.
    map: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: MSL camera code in the file name: ML (Mastcam left), MR (right), MH (MAHLI).
    instrument: str = _one_of("", "ML", "MR", "MH", default="")
    #: With an instrument: how often a training tile of another camera is drawn, against one of its
    #: own. 0 leaves the others out, and with them what only they have seen.
    others: float = _within(0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Input:
    """Size of the net's input in pixels."""

    height: int = _within(32, 512, 128)
    width: int = _within(32, 512, 128)
    channels: int = _within(1, 3, 1)


@dataclass(frozen=True)
class Model:
    """The net: a backbone of `keras.applications`, pooling, and a 1x1 convolution per head."""

    backbone: str = "MobileNetV2"
    #: Width multiplier of the backbone; 0 for backbones that have none.
    alpha: float = _within(0.0, 2.0, 1.0)
    #: File name of the backbone's weights, `"imagenet"`, or `""` for random ones.
    weights: str = "imagenet"
    #: Name of the backbone's last layer that is kept; "" keeps all of it.
    last: str = ""
    #: Up to this layer nothing is padded, so that overlapping tiles share its features and a swath
    #: is run once through them (MobileNet only); "" shares nothing.
    shared: str = ""
    head: str = _one_of("softmax", "sigmoid", default="softmax")
    #: BatchNorm between pooling and dropout.
    head_batchnorm: bool = False
    dropout: float = _within(0.0, 0.9, 0.0)
    #: The backbone is not trained at all; if no augmentation is asked for either, its features are
    #: computed once.
    frozen: bool = False
    #: Name of the last layer of those, from the first on, that are not trained: what they learned
    #: from a million pictures is not bent to a few thousand. "" freezes none.
    frozen_to: str = ""
    #: BatchNorm keeps its statistics (weights whose BatchNorm was folded need it).
    frozen_batchnorm: bool = False
    #: keras.applications' own 0.999 never catches up on a few thousand tiles.
    batchnorm_momentum: float = _within(0.5, 0.9999, 0.97)


@dataclass(frozen=True)
class Train:
    """The optimization: by default AdamW, warm-up, then half a cosine to zero."""

    #: Passes over the tiles; 0 keeps what it starts from, for a mean of runs (`distill.average`).
    epochs: int = _within(0, 1000, 20)
    batch: int = _within(2, 1024, 64)
    learning_rate: float = _within(1e-7, 1.0, 1e-3)
    weight_decay: float = _within(0.0, 1.0, 0.02)
    warmup_epochs: float = _within(0.0, 100.0, 1.0)
    label_smoothing: float = _within(0.0, 0.5, 0.0)
    #: tau of Menon et al. 2021: log prior times tau is added to the logits in the loss.
    logit_adjustment: float = _within(0.0, 2.0, 0.0)
    #: How often a class is drawn: (its tiles)^(1 - balance); 0 as they come, 1 all alike.
    balance: float = _within(0.0, 1.0, 0.0)
    #: beta of the effective number of samples (Cui et al. 2019); 0 weighs all tiles alike.
    effective_number: float = _within(0.0, 0.99999, 0.0)
    #: The weights kept are the mean of the last so many epochs' (Izmailov et al. 2018).
    average_last: int = _within(1, 1000, 1)
    #: Stop when the val loss has not fallen for so many epochs and keep the best; 0 never stops.
    patience: int = _within(0, 1000, 0)
    #: "adamw" (Loshchilov and Hutter 2019), or "adam" (Kingma and Ba 2015) without weight decay.
    optimizer: str = _one_of("adamw", "adam", default="adamw")
    #: The learning rate after the warm-up: half a "cosine" to zero, or "constant".
    schedule: str = _one_of("cosine", "constant", default="cosine")


@dataclass(frozen=True)
class Augment:
    """What may happen to a tile without changing its class."""

    symmetry: str = _one_of("none", "flip", "dihedral", default="dihedral")
    #: Magnification, drawn evenly in its logarithm; under 1 the feature fills less of the tile.
    zoom: tuple[float, float] = _within(0.1, 4.0, (1.0, 1.0))
    #: Shift of the window, as a share of the tile.
    shift: float = _within(0.0, 0.5, 0.0)
    #: Largest ratio of the two axes' magnifications, as its square root.
    stretch: float = _within(1.0, 2.0, 1.0)
    #: Natural logarithms of the largest gain, contrast and gamma.
    gain: float = _within(0.0, 1.5, 0.0)
    contrast: float = _within(0.0, 1.5, 0.0)
    gamma: float = _within(0.0, 1.5, 0.0)
    #: Gain per colour channel (logarithm), and the share of tiles shown in grey.
    colour: float = _within(0.0, 1.5, 0.0)
    grey: float = _within(0.0, 1.0, 0.0)
    #: Largest standard deviation of added Gaussian noise, in pixel values.
    noise: float = _within(0.0, 64.0, 0.0)
    #: Share of the own head's tiles that become the middle halves of two tiles, with the classes
    #: of both (sigmoid heads).
    halves: float = _within(0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Distill:
    """Teachers (run folders, `--teacher`) whose posterior is mixed into the targets."""

    #: Share of the teachers' posterior in the target (Hinton et al. 2015); 0 is no distillation.
    weight: float = _within(0.0, 1.0, 0.0)
    #: The teachers' posterior is softened by this temperature, on top of their own.
    temperature: float = _within(0.1, 20.0, 1.0)
    #: Start from the first teacher's weights wherever its layers have the same name and shape.
    start: bool = False
    #: Start from the mean of all teachers' weights; they must have started alike themselves
    #: (model soups, Wortsman et al. 2022).
    average: bool = False
    #: Recipes of the teachers, for whoever reruns this.
    teachers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Render:
    """Rendered tiles (`winnow_train.rendered`) that join the own head's training tiles."""

    #: How many of a class are made; each is drawn once per epoch on the average.
    tiles: dict[str, int] = field(default_factory=dict, metadata={"range": (0, 100_000)})


@dataclass(frozen=True)
class Windows:
    """Windows of whole pictures (`winnow_train.windows`) that join the own head's training tiles.

    Sizes are in binned pixels, or shares of the window's side.
    """

    #: Folders of pictures under the data's root; none: no windows.
    folders: tuple[str, ...] = ()
    #: File of what was seen in them and of what cannot be there, by path or bare name; "" for none.
    looks: str = ""
    #: Box-binning of the pictures.
    scales: tuple[int, ...] = _within(1, 64, (1, 2, 4))
    #: Step between windows of a scale.
    hop: int = _within(4, 512, 64)
    #: Windows cut about every feature at each scale where it is of size.
    each: int = _within(0, 1000, 4)
    #: Most windows of a class, or of none, that one picture gives at one scale.
    most: int = _within(1, 100_000, 150)
    #: Least and largest side of a box that a window shows, as a share of the window's.
    crater: tuple[float, float] = _within(0.01, 8.0, (0.16, 0.94))
    #: Farthest that a shown box's middle may lie from the window's, in lines and in samples.
    centre: float = _within(1.0, 512.0, 44.0)
    #: Boxes under this side are too small to be seen: they keep no window from being background.
    clear: float = _within(1.0, 512.0, 12.0)
    #: Windows at finer scales than this show no class that fills a whole field.
    field_scale: int = _within(1, 64, 2)
    #: How many windows of a class are drawn in an epoch; `"none"` are those that teach only which
    #: classes are not there.
    draw: dict[str, int] = field(default_factory=dict, metadata={"range": (0, 1_000_000)})
    #: Magnification and shift of a window, instead of the tiles' own.
    zoom: tuple[float, float] = _within(0.25, 4.0, (0.85, 1.2))
    shift: float = _within(0.0, 0.5, 0.05)
    #: From this epoch on (the first is 1), windows of `"none"` and background are drawn the more
    #: often, the more the net takes them for what is not there; 0: never.
    mine_from: int = _within(0, 1000, 0)


@dataclass(frozen=True)
class Export:
    """What becomes of the trained net."""

    #: Share of the log prior that logit adjustment took out and the exported logits get back.
    prior: float = _within(0.0, 2.0, 0.0)
    #: Weight with which the heads trained along add to the logits of classes of the same name.
    join: float = _within(0.0, 2.0, 0.0)
    #: A tile whose best posterior is under this is shown to the net a second time, mirrored, and
    #: its posteriors are the means of both views: on board and in every figure. 0: none is.
    borderline: float = _within(0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Convert:
    """How `winnow convert` makes it int8, and the gate: what that may cost on val, as shares."""

    #: "ptq", "aeq", "qat" (see docs/convert.md) or "auto": the best of them.
    method: str = _one_of("ptq", "aeq", "qat", "auto", default="ptq")
    #: Calibration tiles, drawn from train and balanced over its classes.
    calibration: int = _within(16, 100_000, 400)
    #: Classes that are never a detection.
    background: tuple[str, ...] = ("other", "edge")
    #: Precision on val that a class's detection threshold aims at.
    min_precision: float = _within(0.0, 1.0, 0.9)
    #: Passes over train, and learning rate, of quantization-aware fine-tuning.
    qat_epochs: int = _within(1, 100, 2)
    qat_learning_rate: float = _within(1e-7, 0.1, 1e-4)
    #: Float minus int8: accuracy and mean recall of the classes.
    max_accuracy_loss: float = _within(-1.0, 1.0, 0.005)
    max_recall_loss: float = _within(-1.0, 1.0, 0.01)
    #: Share of tiles with the same best class; Spearman's rho of the downlink order.
    min_agreement: float = _within(0.0, 1.0, 0.98)
    min_rank_correlation: float = _within(-1.0, 1.0, 0.99)
    #: Budget of size and time: bytes of the int8 model, million multiply-accumulates for one tile.
    max_bytes: int = _within(1, 2**30, 2**30)
    max_mmac: float = _within(0.001, 1e6, 1e6)


@dataclass(frozen=True)
class Recipe:
    """A whole recipe."""

    name: str
    data: Data
    about: str = ""
    seed: int = _within(0, 2**31 - 1, 1)
    input: Input = field(default_factory=Input)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    augment: Augment = field(default_factory=Augment)
    render: Render = field(default_factory=Render)
    windows: Windows = field(default_factory=Windows)
    distill: Distill = field(default_factory=Distill)
    export: Export = field(default_factory=Export)
    convert: Convert = field(default_factory=Convert)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain values, every default spelled out."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def find_recipe(name: str) -> Path:
    """The file of a recipe given as a path or by bare name. Raises RecipeError with what exists."""
    path = Path(name)
    if path.is_file():
        return path
    known: set[str] = set()
    for folder in RECIPE_FOLDERS:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
        known |= {p.stem for p in folder.glob("*.toml")}
    raise RecipeError("no such recipe", where=name, hint=f"known: {', '.join(sorted(known))}")


def read_recipe(path: Path | str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe file; every change is a line of TOML, such as `train.balance = 0`.

    Raises RecipeError naming the key, the legal range and the file.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"cannot be read: {error}", where=path) from error
    table.setdefault("name", path.stem)
    for change in changes:
        try:
            _merge(table, tomllib.loads(change))
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(
                f"--set {change!r} is no KEY=VALUE of TOML",
                where=path,
                hint="""e.g. train.balance=0, or 'model.last="conv_pw_11_relu"' with both quotes""",
            ) from error
    return parse_recipe(table, where=f"{path} with --set" if changes else str(path))


def _merge(table: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        held = table.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            _merge(held, value)
        else:
            table[key] = value


def parse_recipe(table: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a table of plain values and make it a Recipe."""
    recipe: Recipe = _build(Recipe, table, "", where)
    if recipe.input.channels == 2:
        raise RecipeError("input.channels is 2", where=where, hint="legal: 1 (grey) or 3 (RGB)")
    if recipe.augment.zoom[0] > recipe.augment.zoom[1]:
        raise RecipeError(
            f"augment.zoom is {recipe.augment.zoom}",
            where=where,
            hint="give the smaller magnification first",
        )
    if recipe.augment.symmetry == "dihedral" and recipe.input.height != recipe.input.width:
        raise RecipeError(
            "augment.symmetry is dihedral but the input is not square",
            where=where,
            hint='use "flip"',
        )
    if recipe.augment.halves > 0 and recipe.model.head != "sigmoid":
        raise RecipeError(
            f"augment.halves is {recipe.augment.halves:g}, but the head is softmax",
            where=where,
            hint='a tile of two classes needs model.head = "sigmoid"',
        )
    if recipe.distill.average and not recipe.distill.start:
        raise RecipeError(
            "distill.average is true, but distill.start is not",
            where=where,
            hint="set both to start from the mean of the teachers",
        )
    if recipe.train.epochs == 0 and not recipe.distill.start:
        raise RecipeError(
            "train.epochs is 0, but no weights are started from",
            where=where,
            hint="train an epoch, or set distill.start = true",
        )
    if recipe.export.join > 0 and not (recipe.data.along and recipe.model.head == "softmax"):
        raise RecipeError(
            f"export.join is {recipe.export.join:g}, but no softmax head is trained along",
            where=where,
            hint="name the sets in data.along, or leave export.join out",
        )
    if recipe.export.borderline > 0 and recipe.model.head != "softmax":
        raise RecipeError(
            f"export.borderline is {recipe.export.borderline:g}, but the head is sigmoid",
            where=where,
            hint="it is a limit on the best posterior of a softmax head: leave it out",
        )
    return recipe


def find_weights(weights: str, folder: Path | None) -> str | None:
    """What `keras.applications` takes: None, "imagenet", or the path of a weights file."""
    if weights in ("", "imagenet"):
        return weights or None
    named = os.environ.get(WEIGHTS_VARIABLE)
    for home in (folder, Path(named) if named else None, Path()):
        if home is not None and (home / weights).is_file():
            return str(home / weights)
    raise WeightsError(
        "no such weights file",
        where=weights,
        hint=f"give its folder with --weights-dir or {WEIGHTS_VARIABLE}",
    )


def _build(cls: type, table: Any, prefix: str, where: str) -> Any:
    if not isinstance(table, dict):
        raise RecipeError(f"{prefix.rstrip('.')} must be a table", where=where)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in table:
        if key not in fields:
            raise RecipeError(
                f"unknown key {prefix}{key}", where=where, hint=f"known: {', '.join(fields)}"
            )
    values = {}
    for name, spec in fields.items():
        key = prefix + name
        if name in table:
            values[name] = _value(hints[name], table[name], spec.metadata, key, where)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise RecipeError(f"{key} is missing", where=where)
    return cls(**values)


def _value(hint: Any, value: Any, limits: Any, key: str, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, f"{key}.", where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        kinds = typing.get_args(hint)
        fixed = kinds[-1] is not Ellipsis
        if not isinstance(value, (list, tuple)) or (fixed and len(value) != len(kinds)):
            size = f"{len(kinds)} values" if fixed else "a list"
            raise RecipeError(f"{key} is {value!r}", where=where, hint=f"expected {size}")
        return tuple(_value(kinds[0], v, limits, key, where) for v in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise RecipeError(f"{key} must be a table", where=where)
        kind = typing.get_args(hint)[1]
        return {k: _value(kind, v, limits, f"{key}.{k}", where) for k, v in value.items()}
    wanted = (int, float) if hint is float else (hint,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        kind = hint.__name__ if not isinstance(hint, types.UnionType) else str(hint)
        raise RecipeError(f"{key} is {value!r}", where=where, hint=f"expected {kind}")
    if "choices" in limits and value not in limits["choices"]:
        legal = ", ".join(repr(c) for c in limits["choices"])
        raise RecipeError(f"{key} is {value!r}", where=where, hint=f"legal: {legal}")
    if "range" in limits:
        low, high = limits["range"]
        if not low <= value <= high or not math.isfinite(value):
            raise RecipeError(
                f"{key} is {value!r}", where=where, hint=f"legal range: {low} to {high}"
            )
    return float(value) if hint is float else value
