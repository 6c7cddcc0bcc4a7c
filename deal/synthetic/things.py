"""What stands in the street of a synthetic scene: poles, signs, trees, cars, pedestrians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deal.synthetic.canvas import CAR, PEDESTRIAN, POLE, SIGN, TREE, Canvas, Color, mix

__all__ = ["PAINTERS", "Thing"]

_CLOTHES: tuple[Color, ...] = (
    (0.12, 0.13, 0.18),
    (0.50, 0.12, 0.12),
    (0.18, 0.24, 0.42),
    (0.72, 0.70, 0.66),
    (0.30, 0.32, 0.26),
    (0.85, 0.62, 0.15),
    (0.40, 0.30, 0.42),
)
_PAINTS: tuple[Color, ...] = (
    (0.75, 0.75, 0.76),
    (0.16, 0.17, 0.19),
    (0.55, 0.10, 0.10),
    (0.16, 0.24, 0.45),
    (0.86, 0.86, 0.84),
    (0.34, 0.36, 0.36),
    (0.24, 0.36, 0.28),
)
_SKIN: tuple[Color, ...] = ((0.85, 0.66, 0.54), (0.62, 0.44, 0.32), (0.36, 0.25, 0.19))
_PLATES: tuple[Color, ...] = (
    (0.80, 0.10, 0.10),
    (0.10, 0.25, 0.70),
    (0.92, 0.80, 0.10),
    (0.90, 0.90, 0.88),
)


@dataclass(frozen=True)
class Thing:
    """Something that stands on the ground at ``x``, ``z`` metres."""

    kind: str
    x: float
    z: float


def _paint_pole(canvas: Canvas, pole: Thing, rng: np.random.Generator) -> None:
    camera = canvas.camera
    tall = 4.5 + 3 * float(rng.random())
    thick = 0.06 + 0.05 * float(rng.random())
    metal = 0.18 + 0.35 * float(rng.random())
    color = canvas.faded((metal, metal, metal * 1.02), pole.z)
    left, right = camera.column(pole.x - thick, pole.z), camera.column(pole.x + thick, pole.z)
    top, bottom = camera.row(tall, pole.z), camera.row(0, pole.z)
    canvas.shadow((left + right) / 2, bottom, 2 + right - left, 1.5, 0.4)
    canvas.rectangle(left, top, right, bottom, color, POLE)
    if rng.random() < 0.6:  # the arm of a street lamp
        reach = camera.column(pole.x - (1.4 if pole.x > 0 else -1.4), pole.z)
        arm = max(1.0, (right - left) * 0.6)
        canvas.rectangle(min(left, reach), top, max(right, reach), top + arm, color, POLE)


def _paint_sign(canvas: Canvas, sign: Thing, rng: np.random.Generator) -> None:
    camera = canvas.camera
    tall = 2.1 + 0.8 * float(rng.random())
    scale = camera.focal / sign.z
    x, y = camera.column(sign.x, sign.z), camera.row(tall, sign.z)
    post = canvas.faded((0.45, 0.46, 0.47), sign.z)
    bottom = camera.row(0, sign.z)
    canvas.rectangle(x - 0.04 * scale, y, x + 0.04 * scale, bottom, post, POLE)
    color = canvas.faded(_PLATES[rng.integers(len(_PLATES))], sign.z)
    inner = canvas.faded((0.92, 0.92, 0.90), sign.z)
    r = (0.32 + 0.16 * float(rng.random())) * scale
    shape = rng.integers(3)
    if shape == 0:
        canvas.ellipse(x, y, r, r, color, SIGN)
        canvas.ellipse(x, y, 0.6 * r, 0.6 * r, inner, SIGN)
    elif shape == 1:
        canvas.polygon([(x - r, y + 0.8 * r), (x + r, y + 0.8 * r), (x, y - r)], color, SIGN)
    else:
        canvas.rectangle(x - 0.8 * r, y - r, x + 0.8 * r, y + r, color, SIGN)
        canvas.rectangle(x - 0.5 * r, y - 0.2 * r, x + 0.5 * r, y + 0.2 * r, inner, SIGN)


def _paint_tree(canvas: Canvas, tree: Thing, rng: np.random.Generator) -> None:
    camera = canvas.camera
    scale = camera.focal / tree.z
    trunk = 1.6 + 1.2 * float(rng.random())
    crown = 1.2 + 1.3 * float(rng.random())
    x, bottom = camera.column(tree.x, tree.z), camera.row(0, tree.z)
    canvas.shadow(x, bottom, crown * scale, 0.2 * crown * scale, 0.35)
    bark = canvas.faded((0.25, 0.19, 0.14), tree.z)
    canvas.rectangle(
        x - 0.13 * scale, camera.row(trunk + crown, tree.z), x + 0.13 * scale, bottom, bark, TREE
    )
    green = 0.26 + 0.16 * float(rng.random())
    for _ in range(5):
        across, up, size = rng.random(3)
        leaf = mix((0.20, green, 0.11), (0.34, green, 0.10), float(rng.random()))
        canvas.ellipse(
            x + (float(across) - 0.5) * 1.4 * crown * scale,
            camera.row(trunk + crown * (0.4 + 1.1 * float(up)), tree.z),
            crown * (0.5 + 0.4 * float(size)) * scale,
            crown * (0.45 + 0.35 * float(size)) * scale,
            canvas.faded(leaf, tree.z),
            TREE,
            ragged=0.5,
        )


def _paint_car(canvas: Canvas, car: Thing, rng: np.random.Generator) -> None:
    """A box with a cabin: the side that faces the middle of the image, then front or rear."""
    camera, z = canvas.camera, car.z
    far = z + 4.0
    wide, roof = 0.85 + 0.12 * float(rng.random()), 1.40 + 0.55 * float(rng.random())
    belt = 0.58 * roof
    base = _PAINTS[rng.integers(len(_PAINTS))]
    paint, side = canvas.faded(base, z), canvas.faded(mix(base, (0, 0, 0), 0.3), z)
    glass = canvas.faded((0.12, 0.15, 0.18), z)
    dark = canvas.faded((0.05, 0.05, 0.06), z)
    inner = -wide if car.x > 0 else wide
    edge = car.x + inner

    def at(x: float, y: float, depth: float) -> tuple[float, float]:
        return camera.column(x, depth), camera.row(y, depth)

    middle = camera.column(car.x, z + 2)
    canvas.shadow(
        middle, camera.row(0, z + 1.5), 1.5 * wide * camera.focal / z, 0.5 * camera.focal / z, 0.7
    )
    corner = edge - 0.15 * inner  # the cabin is narrower than the body
    body = [at(edge, 0.25, z), at(edge, belt, z), at(edge, belt, far), at(edge, 0.25, far)]
    cabin = [
        at(edge, belt, z + 0.1),
        at(corner, roof, z + 0.5),
        at(corner, roof, far - 1.4),
        at(edge, belt, far - 0.8),
    ]
    canvas.polygon(cabin, glass, CAR)
    canvas.polygon(body, side, CAR)
    for depth in (z + 0.8, far - 0.7):
        wheel, ground = at(edge, 0.3, depth)
        scale = camera.focal / depth
        canvas.ellipse(wheel, ground, 0.12 * scale, 0.31 * scale, dark, CAR)
    left, top = at(car.x - wide, belt, z)
    right, bottom = at(car.x + wide, 0.22, z)
    roof_row = camera.row(roof, z + 0.4)
    inset = 0.14 * (right - left)
    canvas.polygon(
        [(left, top), (left + inset, roof_row), (right - inset, roof_row), (right, top)], paint, CAR
    )
    canvas.polygon(
        [
            (left + 0.5 * inset, top),
            (left + 1.3 * inset, roof_row + 0.15 * (top - roof_row)),
            (right - 1.3 * inset, roof_row + 0.15 * (top - roof_row)),
            (right - 0.5 * inset, top),
        ],
        glass,
        CAR,
    )
    canvas.rectangle(left, top, right, bottom, paint, CAR)
    tyre, ground = 0.16 * (right - left), camera.row(0, z)
    canvas.rectangle(left + 0.02, bottom, left + tyre, ground, dark, CAR)
    canvas.rectangle(right - tyre, bottom, right - 0.02, ground, dark, CAR)
    lamp = (0.75, 0.08, 0.06) if rng.random() < 0.6 else (0.95, 0.93, 0.85)
    deep = top + 0.25 * (bottom - top)
    for start in (left, right - tyre):
        canvas.rectangle(
            start, deep, start + tyre, deep + 0.22 * (bottom - top), canvas.faded(lamp, z), CAR
        )
    canvas.rectangle(
        left + 2.3 * tyre, deep, right - 2.3 * tyre, bottom - 0.15 * (bottom - top), dark, CAR
    )


def _paint_pedestrian(canvas: Canvas, walker: Thing, rng: np.random.Generator) -> None:
    camera, z = canvas.camera, walker.z
    scale = (1.45 + 0.45 * float(rng.random())) * camera.focal / z  # body height in pixels
    x, ground = camera.column(walker.x, z), camera.row(0, z)
    coat = canvas.faded(_CLOTHES[rng.integers(len(_CLOTHES))], z)
    legs = canvas.faded(mix(_CLOTHES[rng.integers(len(_CLOTHES))], (0, 0, 0), 0.3), z)
    skin = canvas.faded(_SKIN[rng.integers(len(_SKIN))], z)
    stride = (float(rng.random()) - 0.5) * 0.24 * scale
    canvas.shadow(x, ground, 0.25 * scale, 0.05 * scale, 0.5)
    hip, thick = ground - 0.48 * scale, 0.045 * scale
    for foot in (stride, -stride):
        canvas.polygon(
            [
                (x - thick, hip),
                (x + thick, hip),
                (x + foot + thick, ground),
                (x + foot - thick, ground),
            ],
            legs,
            PEDESTRIAN,
        )
    shoulder = ground - 0.82 * scale
    wide = (0.11 + 0.03 * float(rng.random())) * scale
    canvas.ellipse(x, (hip + shoulder) / 2, wide, 0.21 * scale, coat, PEDESTRIAN)
    canvas.rectangle(x - 0.8 * wide, shoulder + 0.05 * scale, x + 0.8 * wide, hip, coat, PEDESTRIAN)
    swing = 0.4 * stride
    for hand in (-1.0, 1.0):
        sleeve = x + hand * wide
        canvas.polygon(
            [
                (sleeve - 0.03 * scale, shoulder + 0.04 * scale),
                (sleeve + 0.03 * scale, shoulder + 0.04 * scale),
                (sleeve + hand * swing + 0.025 * scale, hip + 0.02 * scale),
                (sleeve + hand * swing - 0.025 * scale, hip + 0.02 * scale),
            ],
            mix(coat, (0, 0, 0), 0.15),
            PEDESTRIAN,
        )
    canvas.ellipse(x, ground - 0.92 * scale, 0.062 * scale, 0.08 * scale, skin, PEDESTRIAN)
    hair = canvas.faded((0.14, 0.10, 0.07), z)
    canvas.ellipse(x, ground - 0.955 * scale, 0.064 * scale, 0.045 * scale, hair, PEDESTRIAN)


PAINTERS: dict[str, Callable[[Canvas, Thing, np.random.Generator], None]] = {
    "pole": _paint_pole,
    "sign": _paint_sign,
    "tree": _paint_tree,
    "car": _paint_car,
    "pedestrian": _paint_pedestrian,
}
