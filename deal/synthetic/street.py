"""A whole synthetic street: backdrop, and the things that stand in it, from far to near."""

from __future__ import annotations

import numpy as np

from deal.synthetic.backdrop import (
    Street,
    paint_facades,
    paint_ground,
    paint_sky,
    paint_skyline,
)
from deal.synthetic.canvas import Canvas, squared_uniform
from deal.synthetic.things import PAINTERS, Thing

__all__ = ["paint_street"]


def paint_street(street: Street, size: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Paint everything on a canvas of ``size`` (H, W), ready to be developed."""
    canvas = Canvas(size, street.camera(size), street.haze, street.fog_distance, rng)
    paint_sky(canvas, street, rng)
    paint_skyline(canvas, street, rng)
    paint_ground(canvas, street, rng)
    paint_facades(canvas, street, rng)
    for thing in sorted(_things(street, rng), key=lambda thing: -thing.z):
        PAINTERS[thing.kind](canvas, thing, rng)
    return canvas


def _things(street: Street, rng: np.random.Generator) -> list[Thing]:
    things = []

    def add(kind: str, x: float, nearest: float, farthest: float) -> None:
        # The square crowds things towards the viewer, where they are seen.
        z = nearest + (farthest - nearest) * squared_uniform(rng)
        things.append(Thing(kind, x, z))

    def side() -> float:
        return -1.0 if rng.random() < 0.5 else 1.0

    for _ in range(street.poles):
        add("pole", side() * (street.road + 0.4), 7, 60)
    for _ in range(street.signs):
        add("sign", side() * (street.road + 0.3 + 0.5 * float(rng.random())), 6, 40)
    for _ in range(street.trees):
        add("tree", side() * (street.road + 0.9), 8, 60)
    for _ in range(street.cars):
        parked = rng.random() < 0.6
        offset = street.road - 1.1 if parked else street.road / 2
        add("car", side() * offset, 7, 60)
    for _ in range(street.crowd):
        crossing = rng.random() < 0.3
        reach = 2 * float(rng.random()) - 1
        walk = street.road * reach if crossing else 0.0
        strip = side() * (street.road + street.pavement * (0.2 + 0.7 * float(rng.random())))
        add("pedestrian", walk if crossing else strip, 6, 45)
    return things
