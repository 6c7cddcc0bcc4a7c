"""Figures by predicted class, and which score is named best."""

from __future__ import annotations

import numpy as np
import pytest

from deal.fitting.measures import Areas, Collector, Measures, best_score
from deal.metrics import ScoreCurve


def test_classes_are_measured_on_the_pixels_predicted_as_them():
    rng = np.random.default_rng(3)
    predicted = rng.choice([0, 2], 3000)
    score = rng.random(3000).astype(np.float32)
    wrong = rng.random(3000) < np.where(predicted == 2, score, 0.3)
    collector = Collector(("road", "sky", "car"))
    for half in (slice(1000), slice(1000, None)):
        collector.add({"difficulty": score[half]}, predicted[half], wrong[half])
        collector.end_image()
    found = collector.measures()
    assert [row.name for row in found.classes] == ["road", "car"]
    assert (found.images, found.pixels, found.wrong) == (2, 3000, wrong.sum())
    for row, index in zip(found.classes, (0, 2), strict=True):
        alone = ScoreCurve()
        alone.update(score[predicted == index], wrong[predicted == index])
        areas = row.scores["difficulty"]
        assert (row.pixels, row.wrong) == (alone.pixels, alone.wrong)
        assert areas == Areas(alone.auroc(), alone.average_precision(), alone.aurc())
    whole = ScoreCurve()
    whole.update(score, wrong)
    assert found.scores["difficulty"].auroc == pytest.approx(whole.auroc(), abs=1e-12)


def test_images_are_ranked_by_their_mean_score_against_their_share_of_errors():
    collector = Collector(("road", "sky"))
    void = np.zeros(0)
    for mean, errors in ((0.1, 0), (0.9, 4), (0.5, 6), (0.6, 8)):
        for half in (0.5, 1.5):  # an image comes in bands
            scores = np.full(5, mean * half, np.float32)
            collector.add({"margin": scores}, np.zeros(5, int), np.arange(5) < errors / 2)
        collector.end_image()
    collector.add({"margin": void.astype(np.float32)}, void.astype(int), void.astype(bool))
    collector.end_image()
    # ranks 1 4 2 3 against 1 2 3 4
    assert collector.measures().image_correlation["margin"] == pytest.approx(0.4)


def test_a_class_without_errors_has_no_areas():
    collector = Collector(("road", "sky"))
    score = np.linspace(0, 1, 9, dtype=np.float32)
    collector.add({"margin": score}, np.zeros(9, int), np.zeros(9, bool))
    assert collector.measures().classes[0].scores["margin"] == Areas(None, None, None)


def test_the_best_of_a_table_is_the_best_of_all_its_rows():
    def measured(**aurocs):
        scores = {name.replace("_", "-"): Areas(value, 0.5, 0.1) for name, value in aurocs.items()}
        return Measures(2, 10, 3, scores, (), {})

    rest = {"margin": 0.7, "least_confidence": 0.7}
    table = {"difficulty": 0.7, "difficulty_without_attention": 0.811, "entropy": 0.754, **rest}
    assert measured(**table).best("auroc") == "difficulty-without-attention"
    assert measured(**table, model_difficulty=0.9).best("auroc") == "model-difficulty"
    table["entropy"] = 0.8112  # the same figure in the table, and it needs no other head
    assert measured(**table).best("auroc") == "entropy"
    assert measured(**{**table, "difficulty": 0.811}).best("auroc") == "difficulty"


def test_the_best_score_is_the_largest_area_and_the_smallest_risk():
    scores = {"entropy": Areas(0.8, 0.5, 0.1), "difficulty": Areas(0.8, 0.6, 0.2)}
    names = ("entropy", "difficulty")
    assert best_score(scores, "auroc", names) == "entropy"
    assert best_score(scores, "average_precision", names) == "difficulty"
    assert best_score(scores, "aurc", names) == "entropy"
    missing = {"entropy": Areas(None, None, None), "difficulty": Areas(None, None, None)}
    assert best_score(missing, "aurc", names) is None
