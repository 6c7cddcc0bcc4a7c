"""Each acquisition function against its formula, written out on probabilities in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deal.acquisitions import acquisition_names, acquisition_scores, bind
from tests.helpers.scenes import CELL, CLASSES, SIZE, Scenes, scenes

POOL = scenes()
COMMITTEE = scenes(members=3, seed=1)
FOCUS = ["pole", "bicyclist"]
IN_FOCUS = (1, 4)


def margins(pool: Scenes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    top = np.sort(pool.p, axis=1)
    return 1 - (top[:, -1] - top[:, -2]), 1 - top[:, -1]


def impurity(classes: NDArray[np.int64]) -> float:
    shares = np.array([(classes == c).mean() for c in range(len(CLASSES))])
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def histogram_entropy(values: NDArray[np.float64], low: float, high: float, levels: int) -> float:
    counts, _ = np.histogram(values, bins=np.linspace(low, high, levels + 1))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def worst(values: NDArray[np.float64], tail: float) -> float:
    """Mean of the largest values: whole pixels, and a part of the last."""
    ordered = np.sort(values)[::-1]
    wanted = tail * len(ordered)
    weights = np.clip(wanted - np.arange(len(ordered)), 0, 1)
    return float((weights * ordered).sum() / wanted)


def rarity(pool: Scenes) -> NDArray[np.float64]:
    """ENet's weight of every pixel, by how often its class is predicted in the pool."""
    shares = np.array([(pool.predicted[pool.kept] == c).mean() for c in range(len(CLASSES))])
    return np.asarray((1 / np.log(1.02 + shares))[pool.predicted])


def disagreement(pool: Scenes) -> NDArray[np.float64]:
    """Mean Kullback-Leibler divergence of the members to their mean, nats."""
    mean = pool.members.mean(axis=0)
    ratios = np.log(pool.members) - np.log(mean)
    return np.asarray((pool.members * ratios).sum(axis=2).mean(axis=0))


def votes(pool: Scenes) -> NDArray[np.float64]:
    predicted = pool.members.argmax(axis=2)
    shares = np.stack([(predicted == c).mean(axis=0) for c in range(len(CLASSES))])
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=0))


def expected(name: str, pool: Scenes) -> NDArray[np.float64]:
    """Scores [B] by the formula of a name."""
    d, u = pool.d, pool.entropy
    margin, least = margins(pool)
    focused = np.isin(pool.predicted, IN_FOCUS)
    consensus = pool.members.mean(axis=0)
    maps = {
        "ds": d,
        "ds:none": d,
        "ds:entropy": d * u,
        "ds:margin": d * margin,
        "ds:least-confidence": d * least,
        "entropy": u,
        "margin": margin,
        "least-confidence": least,
        "balanced:difficulty": rarity(pool) * d,
        "balanced:entropy": rarity(pool) * u,
        "balanced:ds-entropy": rarity(pool) * d * u,
        "focus:difficulty": focused * d,
        "focus:entropy": focused * u,
        "focus:ds-entropy": focused * d * u,
        "focus:pixels": focused.astype(float),
        "vote-entropy": votes(pool),
        "bald": disagreement(pool),
        "kl-to-mean": disagreement(pool),
        "consensus-entropy": -(consensus * np.log(consensus)).sum(axis=1),
    }
    if name in maps:
        return pool.mean(maps[name])
    kept = [
        (d[b][pool.kept[b]], u[b][pool.kept[b]], pool.predicted[b][pool.kept[b]])
        for b in range(len(d))
    ]
    return np.array(
        [
            {
                "de": lambda d, u, c: histogram_entropy(d, d.min(), d.max(), 8),
                "tail:difficulty": lambda d, u, c: worst(d, 0.05),
                "tail:entropy": lambda d, u, c: worst(u, 0.05),
                "ripu": lambda d, u, c: impurity(c) * u.mean(),
            }[name](*image)
            for image in kept
        ]
    )


# Where a formula is met only up to the levels of the stored histograms.
HALF_LEVEL = {"tail:difficulty": 0.5 / 240, "tail:entropy": 0.5 / 240 * np.log(len(CLASSES))}
SCORED = sorted(set(acquisition_names()) - {"random", "core-set", "typiclust"})
OF_COMMITTEES = {"vote-entropy", "bald", "kl-to-mean", "consensus-entropy"}


@pytest.mark.parametrize("name", SCORED)
def test_a_score_is_its_formula(name: str) -> None:
    pool = COMMITTEE if name in OF_COMMITTEES else POOL
    options = {"focus": FOCUS} if name.startswith("focus:") else {}
    scores = acquisition_scores(pool.statistics().images, name, classes=CLASSES, **options)
    assert len(set(scores)) == len(scores)  # or the comparison would say little
    error = HALF_LEVEL.get(name)
    np.testing.assert_allclose(
        scores, expected(name, pool), rtol=0 if error else 1e-11, atol=error or 0
    )


@pytest.mark.parametrize("tail", [0.001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize(("name", "high"), [("difficulty", 1.0), ("entropy", np.log(len(CLASSES)))])
def test_tails_are_exact_on_the_middles_of_the_levels(name: str, high: float, tail: float) -> None:
    values = POOL.d if name == "difficulty" else POOL.entropy
    middles = (np.floor(values / high * 240) + 0.5) * high / 240
    wanted = [worst(v[kept], tail) for v, kept in zip(middles, POOL.kept, strict=True)]
    scores = acquisition_scores(POOL.statistics().images, f"tail:{name}", tail=tail)
    np.testing.assert_allclose(scores, wanted, rtol=1e-12)


def test_the_worst_pixels_include_all_at_one() -> None:
    images = POOL.statistics().images
    whole = acquisition_scores(images, "tail:difficulty", tail=1.0)
    np.testing.assert_allclose(whole, images["difficulty_mean"], atol=0.5 / 240)


def test_a_thin_pole_is_drowned_by_the_mean_and_not_by_the_tail() -> None:
    easy, pole = np.zeros((2, 240), np.int64)
    easy[60] = 1000  # everywhere a little difficult
    pole[40], pole[230] = 970, 30  # all easy but for 3 % of the pixels
    columns = {"difficulty_hist": np.array([easy, pole])}
    mean = acquisition_scores(columns, "tail:difficulty", tail=1.0)
    tail = acquisition_scores(columns, "tail:difficulty", tail=0.02)
    assert mean[0] > mean[1]
    assert tail[1] == pytest.approx(230.5 / 240)
    assert tail[0] == pytest.approx(60.5 / 240)


REGIONS = POOL.statistics().regions


def region_table() -> dict[str, NDArray[np.float64]]:
    assert REGIONS is not None
    kept = REGIONS["n_pixels"].ravel() > 0
    return {name: values.ravel()[kept] for name, values in REGIONS.items()}


def cells(pool: Scenes) -> list[tuple[int, NDArray[np.bool_]]]:
    """Image and pixels of every region of the grid that is not empty, in order."""
    found = []
    for image, kept in enumerate(pool.kept):
        for y in range(0, SIZE[0], CELL):
            for x in range(0, SIZE[1], CELL):
                where = np.zeros(SIZE, bool)
                where[y : y + CELL, x : x + CELL] = True
                found.append((image, where & kept))
    return [(image, where) for image, where in found if where.any()]


@pytest.mark.parametrize("name", ["ripu", "balanced:entropy", "focus:difficulty", "ds:entropy"])
def test_a_score_of_a_region_is_its_formula(name: str) -> None:
    regions = cells(POOL)
    majority = []
    for image, where in regions:
        counts = np.bincount(POOL.predicted[image][where], minlength=len(CLASSES))
        majority.append(int(counts.argmax()))
    sizes = np.array([where.sum() for _, where in regions])
    shares = np.bincount(majority, sizes, len(CLASSES)) / sizes.sum()
    wanted = []
    for (image, where), top in zip(regions, majority, strict=True):
        d, u = POOL.d[image][where], POOL.entropy[image][where]
        wanted.append(
            {
                "ripu": impurity(POOL.predicted[image][where]) * u.mean(),
                "balanced:entropy": u.mean() / np.log(1.02 + shares[top]),
                "focus:difficulty": d.mean() if top in IN_FOCUS else 0.0,
                "ds:entropy": (d * u).mean(),
            }[name]
        )
    options = {"focus": FOCUS} if name.startswith("focus:") else {}
    scores = acquisition_scores(region_table(), name, table="regions", classes=CLASSES, **options)
    np.testing.assert_allclose(scores, wanted, rtol=1e-11, atol=1e-15)


def test_random_draws_each_region_anew() -> None:
    columns = {"id": ["a", "a", "b"], "region": [0, 1, 0]}
    scores = acquisition_scores(columns, "random", table="regions")
    assert len(set(scores)) == 3
    assert scores[2] == acquisition_scores({"id": ["b"], "region": [0]}, "random", table="regions")


def class_parts(name: str, pool: Scenes) -> NDArray[np.float64]:
    """What each class adds to a score, as shares [B, C]."""
    d, u, weights = pool.d, pool.entropy, rarity(pool)
    values = {
        "ds:none": d,
        "ds:entropy": d * u,
        "entropy": u,
        "ripu": u,
        "balanced:difficulty": weights * d,
        "balanced:entropy": weights * u,
        "balanced:ds-entropy": weights * d * u,
        "focus:difficulty": d * np.isin(pool.predicted, IN_FOCUS),
        "focus:entropy": u * np.isin(pool.predicted, IN_FOCUS),
        "focus:ds-entropy": d * u * np.isin(pool.predicted, IN_FOCUS),
        "focus:pixels": np.isin(pool.predicted, IN_FOCUS) * 1.0,
    }[name]
    sums = [
        [values[b][pool.kept[b] & (pool.predicted[b] == c)].sum() for c in range(len(CLASSES))]
        for b in range(len(d))
    ]
    return np.asarray(sums) / np.sum(sums, axis=1, keepdims=True)


@pytest.mark.parametrize("name", SCORED)
def test_class_shares_say_which_classes_carry_a_score(name: str) -> None:
    options = {"focus": FOCUS} if name.startswith("focus:") else {}
    bound = bind(name, classes=CLASSES, **options)
    images = POOL.statistics().images
    if not bound.class_columns:
        assert bound.class_shares(images) is None
        return
    shares = bound.class_shares(images, bound.totals(images))
    assert shares is not None
    np.testing.assert_allclose(shares, class_parts(bound.name, POOL), rtol=1e-11)
