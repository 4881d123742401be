"""Rendered training tiles of classes that hardly any source shows: spiders and fresh impacts.

What is drawn follows the published descriptions, on grounds cut from real training tiles of the
class `other`, never from val:

- *spider*: araneiform troughs that branch away from a centre, and the dark or light fans and
  blotches that gas jets leave on translucent seasonal ice, often cracked into polygons. Fans of one
  place share the wind's direction; blotches are fans without wind. Piqueux et al. 2003 (JGR 108,
  E8), Kieffer 2007 (JGR 112, E8), Hansen et al. 2010 (Icarus 205), Portyankina et al. 2017 (Icarus
  282; branching), Aye et al. 2019 (Icarus 319; fans and blotches, lengths and opening angles).
- *impact ejecta*: the blast zone of a new impact in dust: a halo and thin rays, mostly darker than
  the ground, sometimes lighter or of two tones, many times wider than the crater; half of the sites
  are clusters. Malin et al. 2006 (Science 314), Daubar et al. 2013 (Icarus 225).
- *other*: the same prepared ground with nothing on it, so that ice and cracks alone prove nothing.

Everything is numpy and Pillow, and a function of the recipe's seed alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from winnow_base.errors import RecipeError
from winnow_base.progress import Progress
from winnow_train import samples
from winnow_train.recipe import Recipe
from winnow_train.tasks import Task, class_matrix

#: The class that grounds are taken from.
OTHER = "other"
#: Grounds may show this share of nodata (0) at most.
MOST_NODATA = 0.2
#: A rendering changes at least this share of the tile by so many grey values and by so many
#: standard deviations of the ground, else it is drawn anew, up to so many times.
LEAST_AREA, LEAST_CHANGE, LEAST_CONTRAST, TRIES = 0.01, 25.0, 3.0, 12


def add_rendered(
    sample: samples.Sample,
    recipe: Recipe,
    task: Task,
    pixels: list[np.ndarray],
    progress: Progress,
) -> samples.Sample:
    """The sample with the recipe's rendered tiles, each drawn once per epoch on the average.

    `task` and `pixels` are the own head's training tiles; rendered tiles weigh in that head only,
    under the class that the recipe's map gives theirs.
    Raises RecipeError for a class that nothing renders, or without grounds of the class `other`.
    """
    counts = {name: n for name, n in recipe.render.tiles.items() if n}
    if not counts:
        return sample
    names = task.tiles.classes  # the data set's; a map of the recipe may have merged them
    becomes = class_matrix(task.tiles, recipe.data)
    kept = [c for c, row in zip(names, becomes, strict=True) if row.any()]
    for name in counts:
        if name not in RENDERERS or name not in kept:
            known = ", ".join(c for c in RENDERERS if c in kept) or "none of these classes"
            raise RecipeError(
                f"render.tiles names {name!r}", where=recipe.name, hint=f"can be rendered: {known}"
            )
    if task.head != "softmax" or recipe.input.channels != 1 or OTHER not in kept:
        raise RecipeError(
            "render.tiles needs grey tiles, a softmax head and the class other", where=recipe.name
        )
    grounds = [
        p
        for p, tile in zip(pixels, task.tiles.tiles, strict=True)
        if names[tile.label] == OTHER and (p == 0).mean() <= MOST_NODATA
    ]
    if not grounds:
        raise RecipeError("no tile of the class other to render on", where=recipe.name)
    wanted = [(name, i) for name, count in counts.items() for i in range(count)]
    tiles = []
    with progress.counting("rendering tiles", len(wanted)) as advance:
        for name, i in wanted:
            rng = np.random.default_rng([recipe.seed, *name.encode(), i])
            tiles.append(render(name, grounds[int(rng.integers(len(grounds)))], rng))
            advance(1)
    labels = np.array([becomes[names.index(name)].argmax() for name, _ in wanted])
    return _extended(sample, recipe, tiles, labels)


def _extended(
    sample: samples.Sample, recipe: Recipe, tiles: list[np.ndarray], labels: np.ndarray
) -> samples.Sample:
    targets, weights = dict(sample.targets), dict(sample.weights)
    for head, held in sample.targets.items():
        more = np.zeros((len(tiles), held.shape[1]), np.float32)
        if own := head == recipe.data.dataset:
            smooth = recipe.train.label_smoothing
            more += smooth / held.shape[1]
            more[np.arange(len(tiles)), labels] += 1 - smooth
        targets[head] = np.concatenate([held, more])
        weights[head] = np.concatenate(
            [sample.weights[head], np.full(len(tiles), float(own), np.float32)]
        )
    draw = np.concatenate([sample.draw, np.full(len(tiles), sample.draw.mean())])
    return dataclasses.replace(
        sample,
        pixels=[*sample.pixels, *tiles],
        targets=targets,
        weights=weights,
        draw=draw / draw.sum(),
    )


def render(name: str, ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One rendered tile of the class `name` on a real ground, uint8 [H, W, 1]; nodata stays 0.

    What can hardly be told from its ground is drawn anew, since its label would be noise; of
    drawings that all are faint the clearest is taken.
    """
    below = ground[..., 0].astype(np.float64)
    drawn, clearest = below, -1.0
    for _ in range(TRIES):
        bare, made = RENDERERS[name](below, rng)
        change = float(np.percentile(np.abs(made - bare), 100 * (1 - LEAST_AREA)))
        if change > clearest:
            drawn, clearest = made, change
        if made is bare or change >= max(LEAST_CHANGE, LEAST_CONTRAST * bare.std()):
            break
    out = np.where(below == 0, 0, np.clip(np.rint(drawn), 1, 255))
    return np.asarray(out, np.uint8)[..., None]


def _spider(ground: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    kind = rng.choice(["fans", "blotches", "troughs", "troughs and fans"], p=[0.4, 0.2, 0.25, 0.15])
    bare = out = _ice(ground, rng)
    if "troughs" in kind:
        out = _on(out, _troughs(out.shape, rng), rng, light=0.6, least=0.25, relief=True)
    if "fans" in kind:
        out = _on(out, _fans(out.shape, rng), rng, light=0.15, least=0.35)
    if kind == "blotches":
        out = _on(out, _blotches(out.shape, rng), rng, light=0.1, least=0.35)
    return bare, out


def _bare(ground: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    ice = _ice(ground, rng)
    return ice, ice


def _on(
    ground: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    light: float,
    least: float,
    relief: bool = False,
) -> np.ndarray:
    """Darken (or, with the probability `light`, brighten) the ground by a mask of 0..1."""
    strength = rng.uniform(least, 0.9)
    if relief and rng.random() < 0.3:
        sun = rng.uniform(0, 2 * np.pi)
        down, right = np.gradient(mask)
        shade = down * np.sin(sun) + right * np.cos(sun)
        return np.asarray(ground * (1 + strength * shade / max(float(np.abs(shade).max()), 1e-6)))
    if rng.random() < light:
        return np.asarray(ground + strength * mask * (255 - ground) * rng.uniform(0.4, 1))
    return np.asarray(ground * (1 - strength * mask))


def _ice(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seasonal ice over real relief: the ground's texture at low contrast, at times with cracks."""
    level = rng.uniform(130, 235) if rng.random() < 0.7 else rng.uniform(35, 130)
    seen = ground[ground > 0]
    mean, spread = float(seen.mean()), max(float(seen.std()), 1.0)
    contrast = min(1.5, level * np.exp(rng.uniform(np.log(0.02), np.log(0.12))) / spread)
    out = level + (ground - mean) * contrast
    if rng.random() < 0.5:
        out = out * (1 + rng.choice([-1, 1]) * rng.uniform(0.03, 0.15) * _polygons(out.shape, rng))
    return np.asarray(out)


def _polygons(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Cracks between the cells of random points (Voronoi), 0..1, at half the resolution."""
    height, width = (n // 2 + 1 for n in shape[:2])
    points = rng.uniform(-0.1, 1.1, (int(rng.uniform(5, 16)) ** 2, 2)) * (height, width)
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1])
    near = np.partition(away, 1, axis=2)
    crack = np.exp(-(((near[..., 1] - near[..., 0]) / rng.uniform(0.7, 1.5)) ** 2))
    return _resized(crack, shape)


def _fans(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Fans of one wind: narrow at the vent, darkest there, wider and fainter downwind."""
    size = min(shape[:2])
    count = int(np.exp(rng.uniform(0, np.log(30))))
    wind, spread = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(2, 12))
    reach = size * np.exp(rng.uniform(np.log(0.08), np.log(0.4))) / (1 if count < 8 else 1.6)
    opening = np.radians(rng.uniform(4, 22))
    clear = np.ones(shape[:2])
    for tip in _places(count, shape, rng):
        length = reach * np.exp(rng.normal(0, 0.3))
        for _ in range(1 + int(rng.random() < 0.2)):  # a vent may blow twice
            angle = wind + rng.normal(0, spread)
            clear *= 1 - rng.uniform(0.6, 1) * _fan(shape, tip, angle, length, opening, rng)
    return 1 - clear


def _fan(
    shape: tuple[int, ...],
    tip: np.ndarray,
    angle: float,
    length: float,
    opening: float,
    rng: np.random.Generator,
) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    along = (y - tip[0]) * np.sin(angle) + (x - tip[1]) * np.cos(angle)
    across = (x - tip[1]) * np.sin(angle) - (y - tip[0]) * np.cos(angle)
    head = rng.uniform(0.8, 2.5)  # the vent's own radius, in pixels
    wide = head + np.maximum(along, 0) * np.tan(opening * rng.uniform(0.6, 1.4))
    inside = np.exp(-((np.abs(across) / wide) ** rng.uniform(1.5, 4)))
    fade = np.clip(1 - along / length, 0, 1) ** rng.uniform(0.6, 2.5)
    return np.asarray(inside * np.where(along > 0, fade, np.exp(-((along / head) ** 2))))


def _blotches(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Round to ragged spots, some with short spokes."""
    size = min(shape[:2])
    count = int(np.exp(rng.uniform(0, np.log(14))))
    radius = size * np.exp(rng.uniform(np.log(0.02), np.log(0.08)))
    clear = np.ones(shape[:2])
    for place in _places(count, shape, rng):
        r, angle = _polar(shape, place)
        edge = 1 + rng.uniform(0.2, 0.8) * _lobes(angle, int(rng.integers(5, 14)), rng)
        own = radius * np.exp(rng.normal(0, 0.35)) * np.maximum(edge, 0.3)
        clear *= 1 - rng.uniform(0.6, 1) * np.exp(-((r / own) ** rng.uniform(1, 2.5)))
    return 1 - clear


def _troughs(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Branching troughs that run away from centres, drawn at twice the size."""
    size = 2 * min(shape[:2])
    image = Image.new("L", (2 * shape[1], 2 * shape[0]))
    pen = ImageDraw.Draw(image)
    count = int(np.exp(rng.uniform(0, np.log(14))))
    reach = size * rng.uniform(0.1, 0.35) / np.sqrt(count) ** 0.7
    wide, wander = rng.uniform(2, 6), rng.uniform(0.1, 0.45)
    for place in _places(count, shape, rng):
        legs = int(rng.integers(3, 10))
        turn = rng.uniform(0, 2 * np.pi)
        ends = [
            (2 * place[::-1], turn + 2 * np.pi * (i + rng.uniform(-0.3, 0.3)) / legs, 1.0)
            for i in range(legs)
        ]
        while ends:
            point, heading, left = ends.pop()
            step = reach * rng.uniform(0.12, 0.25)
            heading += rng.normal(0, wander)
            to = point + step * np.array([np.cos(heading), np.sin(heading)])
            pen.line([*point, *to], fill=int(120 + 135 * left), width=max(1, round(wide * left)))
            left -= step / reach
            if left > 0.15:
                ends.append((to, heading, left))
                if rng.random() < 0.3 and len(ends) < 60:
                    fork = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                    ends.append((to, fork, left * 0.8))
    return _resized(np.asarray(image) / 255.0, shape)


def _impact(ground: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A blast zone on any ground: halo, rays, and one crater or a cluster in the middle."""
    size = min(ground.shape)
    place = np.array(ground.shape) * rng.uniform(0.25, 0.75, 2)
    radius = size * np.exp(rng.uniform(np.log(0.03), np.log(0.3)))
    r, angle = _polar(ground.shape, place)
    skew = 1 + rng.uniform(0, 0.5) * np.cos(angle - rng.uniform(0, 2 * np.pi))  # oblique impacts
    ragged = np.maximum(1 + rng.uniform(0.1, 0.5) * _lobes(angle, 9, rng), 0.3)
    halo = np.exp(-((r / (radius * skew * ragged)) ** rng.uniform(1, 2.5)))
    zone = 1 - (1 - rng.uniform(0.5, 1) * halo) * (1 - _rays(r, angle, radius * skew, rng))
    seen = ground[ground > 0]
    ground = float(seen.mean()) + (ground - float(seen.mean())) * rng.uniform(0.6, 1)
    out = _on(ground, zone, rng, light=0.2, least=0.3)
    if rng.random() < 0.25:  # two tones: the inner zone of the other sign
        inner = np.exp(-((r / (radius * rng.uniform(0.25, 0.5))) ** 2))
        out = _on(out, inner, rng, light=float(out.mean() < ground.mean()), least=0.3)
    for _ in range(1 if rng.random() < 0.5 else int(rng.integers(2, 7))):
        pit = max(0.8, radius * rng.uniform(0.04, 0.15))
        r, angle = _polar(ground.shape, place + rng.normal(0, radius * 0.3, 2))
        sun = np.cos(angle - rng.uniform(0, 2 * np.pi))
        out = out * (1 - rng.uniform(0.2, 0.6) * np.exp(-((r / pit) ** 2)))
        rim = np.exp(-(((r - 1.3 * pit) / (0.5 * pit)) ** 2))
        out = out * (1 + rng.uniform(0, 0.4) * sun * rim)
    return ground, np.asarray(out)


def _rays(
    r: np.ndarray, angle: np.ndarray, radius: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    clear = np.ones(r.shape)
    strength = rng.uniform(0.2, 0.8)
    for _ in range(int(rng.integers(6, 45))):
        turn = np.abs((angle - rng.uniform(0, 2 * np.pi) + np.pi) % (2 * np.pi) - np.pi)
        wide = rng.uniform(0.02, 0.12)
        reach = radius * np.exp(rng.uniform(0, np.log(4)))
        ray = np.exp(-((turn / wide) ** 2)) * np.clip(1 - r / reach, 0, 1)
        clear *= 1 - strength * rng.uniform(0.3, 1) * ray
    return 1 - clear


def _places(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Rows and columns [count, 2], the first one near the middle: landmarks are cut about it."""
    places = rng.uniform(0, 1, (count, 2))
    places[0] = rng.uniform(0.3, 0.7, 2)
    return np.asarray(places * shape[:2])


def _polar(shape: tuple[int, ...], place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - place[0], x - place[1]), np.arctan2(y - place[0], x - place[1])


def _lobes(angle: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth random function of the angle, about -1..1."""
    waves = np.arange(1, most + 1)
    height, phase = rng.normal(0, 1, most) / np.sqrt(most), rng.uniform(0, 2 * np.pi, most)
    table = np.arange(512) * (2 * np.pi / 512)
    curve = (height * np.cos(waves * table[:, None] + phase)).sum(axis=1)
    return np.asarray(np.interp(angle % (2 * np.pi), table, curve, period=2 * np.pi))


def _resized(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    image = Image.fromarray(mask.astype(np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float64)


#: What can be rendered, by class name: (ground float64 [H, W], generator) -> the ground as prepared
#: and with the feature on it.
RENDERERS: dict[str, Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]] = {
    "spider": _spider,
    "impact ejecta": _impact,
    "other": _bare,
}
