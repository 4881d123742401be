"""Recipes: TOML files that say how a model is trained, read into frozen dataclasses.

A recipe names no path of any machine: data comes with `--data`, a weights file is named by its
public or file name and looked up in `--weights-dir` or the folder that `WINNOW_WEIGHTS` names, or
is `"imagenet"` and Keras downloads it. An unknown key or a value out of range is refused by name.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow_base.conversion import Conversion
from winnow_base.errors import RecipeError
from winnow_edge.tables import Reader, setting

RECIPE_FOLDERS = (
    Path(__file__).parent / "recipes",  # in a wheel
    Path(__file__).parent.parent / "recipes",  # in the repository
)


@dataclass(frozen=True)
class Data:
    """What is learned: the data set of the model's own head, and those trained along with it.

    Attributes:
        dataset: Data set of the model's own head.
        along: Data sets trained together with it, one head each, sharing the backbone.
        borrow: Classes whose tiles in the sets trained along teach the recipe's own head too, by
            their name; tiles that touch nodata are left out, since some sets call those "edge".
        drop: Classes left out of the head, with their tiles (a class that has no training tile).
        map: New class = old classes; `["*"]` takes the rest, a class named nowhere is left out.
        instrument: MSL camera code in the file name: ML (Mastcam left), MR (right), MH (MAHLI).
        others: With an instrument: how often a training tile of another camera is drawn, against
            one of its own. 0 leaves the others out, and with them what only they have seen.
    """

    dataset: str = setting(..., choices=("hirise-v1", "hirise-v3", "msl", "folder"))
    along: tuple[str, ...] = setting(())
    borrow: tuple[str, ...] = setting(())
    drop: tuple[str, ...] = setting(())
    map: dict[str, tuple[str, ...]] = setting(dict)
    instrument: str = setting("", choices=("", "ML", "MR", "MH"))
    others: float = setting(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Input:
    """Size of the net's input in pixels.

    Attributes:
        height: Lines of a tile.
        width: Samples of a tile.
        channels: 1 for grey, 3 for RGB.
    """

    height: int = setting(128, 32, 512, unit="pixels")
    width: int = setting(128, 32, 512, unit="pixels")
    channels: int = setting(1, choices=(1, 3))


@dataclass(frozen=True)
class Model:
    """The net: a backbone of `keras.applications`, pooling, and a 1x1 convolution per head.

    Attributes:
        backbone: Name of the class in `keras.applications`, or "SmallXception".
        alpha: Width multiplier of the backbone; 0 for backbones that have none.
        weights: Backbone's weights: a name of `winnow weights list`, a file name, `"imagenet"`
            (Keras fetches them), or `""` for random ones.
        last: Name of the backbone's last layer that is kept; "" keeps all of it.
        shared: Up to this layer nothing is padded, so that overlapping tiles share its features and
            a swath is run once through them (MobileNet only); "" shares nothing.
        head: One class per tile ("softmax"), or any number ("sigmoid").
        head_batchnorm: BatchNorm between pooling and dropout.
        dropout: Share of the pooled features that dropout blanks.
        frozen: The backbone is not trained at all; if no augmentation is asked for either, its
            features are computed once.
        frozen_to: Last layer that is not trained; nor are those before it. What they
            learned from a million pictures is not bent to a few thousand. "" freezes none.
        frozen_batchnorm: BatchNorm keeps its statistics (weights whose BatchNorm was folded need
            it).
        batchnorm_momentum: keras.applications' own 0.999 never catches up on a few thousand tiles.
    """

    backbone: str = setting("MobileNetV2")
    alpha: float = setting(1.0, 0.0, 2.0)
    weights: str = setting("imagenet")
    last: str = setting("")
    shared: str = setting("")
    head: str = setting("softmax", choices=("softmax", "sigmoid"))
    head_batchnorm: bool = setting(False)
    dropout: float = setting(0.0, 0.0, 0.9)
    frozen: bool = setting(False)
    frozen_to: str = setting("")
    frozen_batchnorm: bool = setting(False)
    batchnorm_momentum: float = setting(0.97, 0.5, 0.9999)


@dataclass(frozen=True)
class Train:
    """The optimization: by default AdamW, warm-up, then half a cosine to zero.

    Attributes:
        epochs: Passes over the tiles; 0 keeps what it starts from, for a mean of runs
            (`distill.average`).
        batch: Tiles of one step.
        learning_rate: Learning rate at the end of the warm-up.
        weight_decay: Decoupled weight decay of AdamW.
        warmup_epochs: The learning rate rises from 0 for so long.
        label_smoothing: Share of the target that is spread over all classes.
        logit_adjustment: tau of Menon et al. 2021: log prior times tau is added to the logits in
            the loss.
        balance: How often a class is drawn: (its tiles)^(1 - balance); 0 as they come, 1 all alike.
        effective_number: beta of the effective number of samples (Cui et al. 2019); 0 weighs all
            tiles alike.
        average_last: The weights kept are the mean of the last so many epochs' (Izmailov et al.
            2018).
        patience: Stop when the val loss has not fallen for so many epochs and keep the best; 0
            never stops.
        optimizer: "adamw" (Loshchilov and Hutter 2019), or "adam" (Kingma and Ba 2015) without
            weight decay.
        schedule: Learning rate after the warm-up: half a "cosine" to zero, or "constant".
    """

    epochs: int = setting(20, 0, 1000, unit="epochs")
    batch: int = setting(64, 2, 1024, unit="tiles")
    learning_rate: float = setting(1e-3, 1e-7, 1.0)
    weight_decay: float = setting(0.02, 0.0, 1.0)
    warmup_epochs: float = setting(1.0, 0.0, 100.0, unit="epochs")
    label_smoothing: float = setting(0.0, 0.0, 0.5)
    logit_adjustment: float = setting(0.0, 0.0, 2.0)
    balance: float = setting(0.0, 0.0, 1.0)
    effective_number: float = setting(0.0, 0.0, 0.99999)
    average_last: int = setting(1, 1, 1000, unit="epochs")
    patience: int = setting(0, 0, 1000, unit="epochs")
    optimizer: str = setting("adamw", choices=("adamw", "adam"))
    schedule: str = setting("cosine", choices=("cosine", "constant"))


@dataclass(frozen=True)
class Augment:
    """What may happen to a tile without changing its class.

    Attributes:
        symmetry: Nothing, the mirror image, or the eight symmetries of the square.
        zoom: Magnification, drawn evenly in its logarithm; under 1 the feature fills less of the
            tile.
        shift: Largest shift of the window, of the tile.
        stretch: Largest ratio of the two axes' magnifications, as its square root.
        gain: Natural logarithm of the largest gain.
        contrast: Natural logarithm of the largest contrast.
        gamma: Natural logarithm of the largest gamma.
        colour: Natural logarithm of the largest gain of a colour channel.
        grey: Share of the tiles that are shown in grey.
        noise: Largest standard deviation of added Gaussian noise.
        halves: Share of the own head's tiles that become the middle halves of two tiles, with the
            classes of both (sigmoid heads).
    """

    symmetry: str = setting("dihedral", choices=("none", "flip", "dihedral"))
    zoom: tuple[float, float] = setting((1.0, 1.0), 0.1, 4.0)
    shift: float = setting(0.0, 0.0, 0.5, unit="share")
    stretch: float = setting(1.0, 1.0, 2.0)
    gain: float = setting(0.0, 0.0, 1.5)
    contrast: float = setting(0.0, 0.0, 1.5)
    gamma: float = setting(0.0, 0.0, 1.5)
    colour: float = setting(0.0, 0.0, 1.5)
    grey: float = setting(0.0, 0.0, 1.0)
    noise: float = setting(0.0, 0.0, 64.0, unit="value")
    halves: float = setting(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Distill:
    """Teachers (run folders, `--teacher`) whose posterior is mixed into the targets.

    Attributes:
        weight: Share of the teachers' posterior in the target (Hinton et al. 2015); 0 is no
            distillation.
        temperature: The teachers' posterior is softened by this temperature, on top of their own.
        views: Symmetries of the square that a teacher's logits are averaged over: 1, 2 (a tile and
            its mirror image), 4 or 8.
        start: Start from the first teacher's weights wherever its layers have the same name and
            shape.
        average: Start from the mean of all teachers' weights; they must have started alike
            themselves (model soups, Wortsman et al. 2022).
        teachers: Recipes of the teachers, for whoever reruns this.
    """

    weight: float = setting(0.0, 0.0, 1.0)
    temperature: float = setting(1.0, 0.1, 20.0)
    views: int = setting(8, choices=(1, 2, 4, 8))
    start: bool = setting(False)
    average: bool = setting(False)
    teachers: tuple[str, ...] = setting(())


@dataclass(frozen=True)
class Render:
    """Rendered tiles (`winnow_train.rendered`) that join the own head's training tiles.

    Attributes:
        tiles: How many of a class are made; each is drawn once per epoch on the average.
    """

    tiles: dict[str, int] = setting(dict, 0, 100_000, unit="tiles")


@dataclass(frozen=True)
class Windows:
    """Windows of whole pictures (`winnow_train.windows`) that join the own head's training tiles.

    Attributes:
        folders: Folders of pictures under the data's root; none: no windows.
        looks: File of the eye's findings in the pictures and of the classes that cannot be there,
            by path or bare name; "" for none.
        scales: Box-binning of the pictures.
        hop: Step between windows of a scale, binned.
        each: Windows cut about every feature at each scale where it is of size.
        most: Most windows of a class, or of none, that one picture gives at one scale.
        crater: Least and largest side of a box that a window shows, of the window's side.
        centre: Farthest that a shown box's middle may lie from the window's, binned, in lines and
            in samples.
        clear: Boxes under this side are too small to be seen, binned: they keep no window from
            being background.
        field_scale: Windows at finer scales than this show no class that fills a whole field.
        draw: How many windows of a class are drawn in an epoch; `"none"` are those that teach only
            which classes are not there.
        zoom: Magnification of a window, instead of the tiles' own.
        shift: Shift of a window, instead of the tiles' own.
        mine_from: From this epoch on (the first is 1), windows of `"none"` and background are drawn
            the more often, the more the net takes them for classes that are not there; 0: never.
    """

    folders: tuple[str, ...] = setting(())
    looks: str = setting("")
    scales: tuple[int, ...] = setting((1, 2, 4), 1, 64)
    hop: int = setting(64, 4, 512, unit="pixels")
    each: int = setting(4, 0, 1000, unit="windows")
    most: int = setting(150, 1, 100_000, unit="windows")
    crater: tuple[float, float] = setting((0.16, 0.94), 0.01, 8.0, unit="share")
    centre: float = setting(44.0, 1.0, 512.0, unit="pixels")
    clear: float = setting(12.0, 1.0, 512.0, unit="pixels")
    field_scale: int = setting(2, 1, 64)
    draw: dict[str, int] = setting(dict, 0, 1_000_000, unit="windows")
    zoom: tuple[float, float] = setting((0.85, 1.2), 0.25, 4.0)
    shift: float = setting(0.05, 0.0, 0.5, unit="share")
    mine_from: int = setting(0, 0, 1000, unit="epochs")


@dataclass(frozen=True)
class Export:
    """What becomes of the trained net.

    Attributes:
        prior: Share of the log prior that logit adjustment took out and the exported logits get
            back.
        join: Weight with which the heads trained along add to the logits of classes of the same
            name.
        borderline: A tile whose best posterior is under this is shown to the net a second time,
            mirrored, and its posteriors are the means of both views: on board and in every figure.
            0: none is.
        licence: Licence of the weights, as their owner gives it; "" leaves it not stated.
    """

    prior: float = setting(0.0, 0.0, 2.0)
    join: float = setting(0.0, 0.0, 2.0)
    borderline: float = setting(0.0, 0.0, 1.0)
    licence: str = setting("")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe.

    Attributes:
        name: Name of the model; the file's, where it is left out.
        about: The model in one sentence.
        seed: Seed of everything drawn.
    """

    name: str = setting(...)
    data: Data = setting(...)
    about: str = setting("")
    seed: int = setting(1, 0, 2**31 - 1)
    input: Input = setting(Input)
    model: Model = setting(Model)
    train: Train = setting(Train)
    augment: Augment = setting(Augment)
    render: Render = setting(Render)
    windows: Windows = setting(Windows)
    distill: Distill = setting(Distill)
    export: Export = setting(Export)
    convert: Conversion = setting(Conversion)

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

    Raises RecipeError naming the key, the legal range, the file and, without changes, the line.
    """
    return checked(*open_recipe(path, changes))


def open_recipe(path: Path | str, changes: Sequence[str] = ()) -> tuple[Reader, dict[str, Any]]:
    """The reader and the table of a recipe file that is not checked yet. Raises RecipeError."""
    path = Path(path)
    reader = Reader.open(path, RecipeError)
    table = reader.parse()
    table.setdefault("name", path.stem)
    for change in changes:
        try:
            _merge(table, tomllib.loads(change))
        except (ValueError, RecursionError) as error:
            raise RecipeError(
                f"--set {change!r} is no KEY=VALUE of TOML",
                where=path,
                hint="""e.g. train.balance=0, or 'model.last="conv_pw_11_relu"' with both quotes""",
            ) from error
    return Reader(f"{path} with --set", RecipeError) if changes else reader, table


def read_recipe_text(text: str, name: str) -> Recipe:
    """Check the text of a recipe. Raises RecipeError as `read_recipe` does."""
    reader = Reader(name, RecipeError, text)
    table = reader.parse()
    table.setdefault("name", name)
    return checked(reader, table)


def _merge(table: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        held = table.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            _merge(held, value)
        else:
            table[key] = value


def parse_recipe(table: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a table of plain values and make it a Recipe."""
    return checked(Reader(where, RecipeError), table)


def checked(reader: Reader, table: dict[str, Any]) -> Recipe:
    """A table of plain values as a Recipe. Raises RecipeError."""
    recipe = reader.table(Recipe, table)
    augment, distill, export = recipe.augment, recipe.distill, recipe.export
    sigmoid = recipe.model.head == "sigmoid"
    if augment.zoom[0] > augment.zoom[1]:
        what = f"`augment.zoom` is {list(augment.zoom)}"
        raise reader.refusal(("augment", "zoom"), what, "give the smaller magnification first")
    if augment.symmetry == "dihedral" and recipe.input.height != recipe.input.width:
        what = '`augment.symmetry` is "dihedral", but the input is not square'
        raise reader.refusal(("augment", "symmetry"), what, 'use "flip"')
    if augment.halves > 0 and not sigmoid:
        what = f"`augment.halves` is {augment.halves:g}, but the head is softmax"
        hint = 'a tile of two classes needs model.head = "sigmoid"'
        raise reader.refusal(("augment", "halves"), what, hint)
    if distill.average and not distill.start:
        what = "`distill.average` is true, but distill.start is not"
        raise reader.refusal(("distill", "average"), what, "set both to start from their mean")
    if recipe.train.epochs == 0 and not distill.start:
        what = "`train.epochs` is 0, but no weights are started from"
        raise reader.refusal(("train", "epochs"), what, "train one, or set distill.start = true")
    if export.join > 0 and (sigmoid or not recipe.data.along):
        what = f"`export.join` is {export.join:g}, but no softmax head is trained along"
        hint = "name the sets in data.along, or leave export.join out"
        raise reader.refusal(("export", "join"), what, hint)
    if export.borderline > 0 and sigmoid:
        what = f"`export.borderline` is {export.borderline:g}, but the head is sigmoid"
        hint = "it is a limit on the best posterior of a softmax head: leave it out"
        raise reader.refusal(("export", "borderline"), what, hint)
    return recipe
