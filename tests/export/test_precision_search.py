"""The search for layers that stay in float32, and the value of picks."""

import numpy as np
import pytest

from deal.errors import ModelError
from deal.export.deadline import OutOfTimeError
from deal.export.fidelity import Fidelity, ScoreFidelity, pick_value
from deal.export.graph import Layer
from deal.export.search import Sensitivity, fewest_float_layers


def fidelity(passed):
    number = 1.0 if passed else 0.5
    return Fidelity(300, 1.0, 0.0, {"ds": ScoreFidelity(number, number, number)})


def ranked(count):
    return [
        Sensitivity(Layer((f"conv_{index}",)), "Conv", 1 / (index + 1), index)
        for index in range(count)
    ]


@pytest.mark.parametrize("needed", range(1, 11))
def test_the_search_leaves_no_more_layers_in_float_than_pass(needed):
    asked = []

    def judge(layers):
        asked.append(len(layers))
        worst = {item.layer for item in ranked(20)[:needed]}
        return fidelity(worst <= set(layers))

    layers, found = fewest_float_layers(ranked(20), judge, 60)
    assert len(layers) == needed
    assert found.passed
    assert len(asked) <= 9 + needed


def test_a_costly_layer_that_need_not_be_in_float_goes_back_to_int8():
    needed = {Layer(("conv_1",)), Layer(("conv_4",))}
    layers, found = fewest_float_layers(
        ranked(20), lambda layers: fidelity(needed <= set(layers)), 60
    )
    assert set(layers) == needed
    assert found.passed


def test_a_hopeless_model_is_refused_with_the_layers_that_hurt():
    with pytest.raises(ModelError, match="nothing is written") as raised:
        fewest_float_layers(ranked(6), lambda layers: fidelity(False), 60)
    text = str(raised.value)
    assert "3 of 6 layers" in text
    assert text.index("conv_0") < text.index("conv_5")
    assert "fails" in text


def test_a_search_without_time_is_refused():
    with pytest.raises(ModelError, match="ran out"):
        fewest_float_layers(ranked(6), lambda layers: fidelity(True), 0)


def test_a_judgement_that_runs_out_of_time_leaves_the_best_found_until_then():
    def judge(layers):
        if 4 < len(layers) < 8:
            raise OutOfTimeError("no time")
        return fidelity(len(layers) >= 5)

    layers, found = fewest_float_layers(ranked(20), judge, 60)
    assert (len(layers), found.passed) == (8, True)


def test_the_value_of_picks_is_a_share_of_the_best():
    reference = np.array([4.0, 3, 2, 1])
    assert pick_value(reference, reference, 2) == 1
    assert pick_value(reference, -reference, 2) == pytest.approx(1.5 / 3.5)
