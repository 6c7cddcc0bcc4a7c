"""The street of a synthetic scene: its light and weather, sky, ground and facades."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deal.synthetic.canvas import (
    BUILDING,
    PAVEMENT,
    ROAD,
    SKY,
    TREE,
    Camera,
    Canvas,
    Color,
    mix,
    squared_uniform,
    value_noise,
)

__all__ = ["Street", "paint_facades", "paint_ground", "paint_sky", "paint_skyline"]

_CAMERA_HEIGHT = 1.5  # metres above the road
_FACADES: tuple[Color, ...] = (
    (0.62, 0.36, 0.28),
    (0.72, 0.66, 0.55),
    (0.55, 0.54, 0.53),
    (0.78, 0.74, 0.70),
    (0.50, 0.42, 0.38),
    (0.66, 0.56, 0.42),
    (0.44, 0.46, 0.50),
)


@dataclass(frozen=True)
class Street:
    """The look of a scene before any objects are placed in it; lengths in metres."""

    road: float  # half the width of the road
    pavement: float
    horizon: float  # share of the image height
    center: float  # share of the image width
    light: float  # 0 dusk … 1 full day
    sky_top: Color
    haze: Color
    fog_distance: float
    exposure: float
    tint: Color
    noise: float
    rain: float
    wet: float
    crowd: int
    poles: int
    trees: int
    cars: int
    signs: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Street:
        """A street drawn at random."""
        # Squared, so that most scenes are easy and a few are hard in several ways at once.
        hard = squared_uniform(rng)
        light = 1 - 0.6 * squared_uniform(rng)
        overcast = float(rng.random())
        day: Color = mix((0.30, 0.50, 0.82), (0.70, 0.73, 0.76), overcast)
        haze: Color = mix((0.74, 0.82, 0.90), (0.80, 0.81, 0.82), overcast)
        dusk = 1 - light
        raining = rng.random() < 0.12 + 0.2 * hard
        foggy = rng.random() < 0.12 + 0.3 * hard
        return cls(
            road=3.2 + 2.6 * float(rng.random()),
            pavement=1.8 + 2.2 * float(rng.random()),
            horizon=0.38 + 0.12 * float(rng.random()),
            center=0.35 + 0.30 * float(rng.random()),
            light=light,
            sky_top=mix(day, (0.16, 0.17, 0.32), dusk),
            haze=mix(haze, (0.88, 0.62, 0.45), dusk),
            fog_distance=18 + 22 * float(rng.random()) if foggy else 140.0,
            exposure=(0.75 + 0.35 * float(rng.random())) * (0.35 + 0.65 * light),
            tint=mix((1.0, 1.0, 1.0), (1.06, 0.97, 0.90), dusk * float(rng.random()) * 1.5),
            noise=2 + 10 * hard * float(rng.random()) + 8 * dusk,
            rain=0.35 if raining else 0.0,
            wet=0.35 if raining else 0.0,
            crowd=int(rng.integers(0, 5)) + (int(rng.integers(6, 22)) if hard > 0.4 else 0),
            poles=int(rng.integers(2, 6)) + int(8 * hard),
            trees=int(rng.integers(0, 8)),
            cars=int(rng.integers(1, 8)),
            signs=int(rng.integers(1, 4)) + int(4 * hard),
        )

    def camera(self, size: tuple[int, int]) -> Camera:
        """The camera that films the street in images of ``size`` (H, W)."""
        height, width = size
        return Camera(
            focal=0.9 * width,
            horizon=self.horizon * height,
            center=self.center * width,
            height=_CAMERA_HEIGHT,
        )

    @property
    def wall(self) -> float:
        """Distance of the facades from the middle of the road."""
        return self.road + self.pavement


def paint_sky(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint the sky from the top to the horizon."""
    height, width = canvas.size
    down = np.clip(np.arange(height, dtype=np.float32) / np.float32(canvas.camera.horizon), 0, 1)
    top, bottom = np.asarray(street.sky_top, np.float32), np.asarray(street.haze, np.float32)
    canvas.rgb[:] = (top + (bottom - top) * down[:, None])[:, None]
    clouds = value_noise(rng, canvas.size, max(4, width // 6))
    clouds += value_noise(rng, canvas.size, max(2, width // 16)) / 2
    cover = np.clip(clouds - np.float32(rng.random()), 0, 1)[:, :, None] * np.float32(0.8)
    white = np.float32(0.95 * (0.4 + 0.6 * street.light))
    canvas.rgb += (white - canvas.rgb) * cover
    canvas.label[:] = SKY


def paint_skyline(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint distant houses and trees where the street ends."""
    height, width = canvas.size
    x = 0.0
    while x < width:
        step = width * (0.02 + 0.05 * float(rng.random()))
        tall = height * (0.02 + 0.10 * float(rng.random()))
        leaves = rng.random() < 0.4
        color = (0.25, 0.33, 0.20) if leaves else _FACADES[rng.integers(len(_FACADES))]
        canvas.rectangle(
            x,
            canvas.camera.horizon - tall * (0.6 if leaves else 1.0),
            x + step,
            canvas.camera.horizon + 2,
            mix(color, street.haze, 0.55),
            TREE if leaves else BUILDING,
        )
        x += step


def paint_ground(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint road and pavements below the horizon."""
    camera, (height, width) = canvas.camera, canvas.size
    first = int(camera.horizon) + 1
    rows = np.arange(first, height, dtype=np.float32) + np.float32(0.5)
    z = (np.float32(camera.height * camera.focal) / (rows - np.float32(camera.horizon)))[:, None]
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
    x = (columns - np.float32(camera.center)) * z / np.float32(camera.focal)
    aside = np.abs(x)
    rgb, label = canvas.rgb[first:], canvas.label[first:]

    on_road = aside <= street.road
    asphalt = 0.22 + 0.20 * float(rng.random())
    # Hard scenes are those where the pavement looks like the road.
    paving = asphalt + 0.05 + 0.25 * float(rng.random())
    shade = np.where(on_road, np.float32(asphalt), np.float32(paving))
    tile = np.float32(0.6 + 0.8 * float(rng.random()))
    joint = (np.mod(aside, tile) < 0.06) | (np.mod(z, tile) < 0.08)
    near = z < 25
    shade = np.where(~on_road & joint & near, shade * np.float32(0.85), shade)
    worn = value_noise(rng, canvas.size, max(4, width // 10))[first:]
    shade = shade * (1 + np.float32(0.10) * worn)
    kerb = np.abs(aside - np.float32(street.road + 0.08)) < 0.10
    shade = np.where(kerb, np.float32(paving + 0.12), shade)
    shade = np.where(on_road & _markings(x, z, street, rng), np.float32(0.78), shade)
    color = shade[:, :, None] * np.asarray((1.0, 0.99, 0.97), np.float32)
    if street.wet:
        # A wet road mirrors the sky.
        color += (np.asarray(street.haze, np.float32) - color) * np.where(
            on_road, np.float32(street.wet) * np.clip(worn, 0, 1), 0
        )[:, :, None]
    fog = (z / (z + np.float32(street.fog_distance)))[:, :, None]
    rgb[:] = color + (np.asarray(street.haze, np.float32) - color) * fog
    label[:] = np.where(on_road, ROAD, PAVEMENT)


def _markings(
    x: NDArray[np.floating], z: NDArray[np.floating], street: Street, rng: np.random.Generator
) -> NDArray[np.bool_]:
    dash = 3 + 3 * float(rng.random())
    phase = dash * float(rng.random())
    painted: NDArray[np.bool_] = (np.abs(x) < 0.08) & (
        np.mod(z + np.float32(phase), np.float32(2 * dash)) < dash
    )
    if rng.random() < 0.5:
        painted |= np.abs(np.abs(x) - np.float32(street.road - 0.35)) < 0.06
    if rng.random() < 0.3:
        start = 7 + 12 * float(rng.random())
        painted |= (z > start) & (z < start + 3) & (np.mod(x, np.float32(1.0)) < 0.5)
    return painted


def paint_facades(canvas: Canvas, street: Street, rng: np.random.Generator) -> None:
    """Paint two rows of houses with windows, with an occasional hedge instead of a house."""
    camera, (height, width) = canvas.camera, canvas.size
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5) - np.float32(camera.center)
    columns = np.where(np.abs(columns) < 0.5, np.float32(0.5), columns)
    rows = (np.float32(camera.horizon) - np.arange(height, dtype=np.float32) - 0.5)[:, None]
    farthest = 55 + 50 * float(rng.random())
    for left in (True, False):
        mine = np.flatnonzero((columns < 0) == left)
        z = np.float32(camera.focal * street.wall) / np.abs(columns[mine])
        mine, z = mine[z < farthest], z[z < farthest]
        if not len(mine):
            continue
        houses = _Houses.draw(rng)
        index = np.searchsorted(houses.ends, z)
        high, hedge = houses.height[index], houses.hedge[index]
        floor, bay = houses.floor[index], houses.bay[index]
        v = rows * (z / np.float32(camera.focal)) + np.float32(camera.height)  # above ground
        up, along = np.mod(v, floor), np.mod(z, bay)
        bright = (along > 0.25 * bay) & (along < 0.75 * bay) & ~hedge
        window = (up > 0.28 * floor) & (up < 0.78 * floor) & bright & (v < high - 0.5)
        cornice = v > np.where(hedge, np.float32(1e9), high - np.float32(0.4))
        wall = houses.color[index] * np.float32(0.78 if left else 1.0)
        glass = houses.glass[index] * np.float32(0.6 + 0.4 * street.light)
        materials = np.stack([wall, glass, wall * np.float32(0.8)])
        fog = (z / (z + np.float32(street.fog_distance)))[:, None]
        materials += (np.asarray(street.haze, np.float32) - materials) * fog
        color = materials[np.where(cornice, 2, window), np.arange(len(mine))]
        part = np.s_[:, mine[0] : mine[-1] + 1]
        color *= (1 + np.float32(0.45) * canvas.grain[part] * hedge)[:, :, None]
        visible = (v >= 0) & (v < high)
        np.copyto(canvas.rgb[part], color, where=visible[:, :, None])
        kind = np.where(hedge, np.uint8(TREE), np.uint8(BUILDING))
        np.copyto(canvas.label[part], kind, where=visible)


@dataclass(frozen=True)
class _Houses:
    """One row of houses, with one entry per house, from near to far."""

    ends: NDArray[np.float32]  # metres along the street where each ends
    height: NDArray[np.float32]
    floor: NDArray[np.float32]
    bay: NDArray[np.float32]
    color: NDArray[np.float32]
    glass: NDArray[np.float32]
    hedge: NDArray[np.bool_]

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int = 24) -> _Houses:
        hedge = rng.random(count) < 0.2
        color = np.asarray(_FACADES, np.float32)[rng.integers(len(_FACADES), size=count)]
        color = color * (0.8 + 0.35 * rng.random((count, 1), np.float32))
        lit = rng.random((count, 1)) < 0.15
        glass = np.where(lit, (0.85, 0.75, 0.45), (0.22, 0.26, 0.30)).astype(np.float32)
        return cls(
            ends=np.cumsum(6 + 10 * rng.random(count, np.float32), dtype=np.float32)[:-1],
            height=np.where(
                hedge,
                1.2 + 1.6 * rng.random(count, np.float32),
                5 + 13 * rng.random(count, np.float32) * rng.random(count, np.float32),
            ).astype(np.float32),
            floor=2.8 + 0.8 * rng.random(count, np.float32),
            bay=1.8 + 1.8 * rng.random(count, np.float32),
            color=np.where(hedge[:, None], np.asarray((0.20, 0.32, 0.14), np.float32), color),
            glass=glass,
            hedge=hedge,
        )
