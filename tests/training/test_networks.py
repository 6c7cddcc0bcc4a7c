"""The paper's network and its light sibling."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deal.errors import UsageError
from deal.training.networks import InputNormalization, build_network


@pytest.mark.parametrize(("name", "parameters"), [("paper", 5_813_483), ("light", 2_717_243)])
def test_networks_have_the_documented_size(name, parameters):
    network = build_network(name, 11)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_width_makes_a_small_variant():
    network = build_network("light", 9, width=0.45)
    assert sum(p.numel() for p in network.parameters()) == 582_201


@pytest.mark.parametrize("name", ["paper", "light"])
def test_logits_stay_on_the_quarter_grid_for_any_size(name):
    network = build_network(name, 5, width=0.25).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 64, 96)).shape == (1, 5, 16, 24)
        assert network(torch.zeros(2, 3, 37, 50)).shape == (2, 5, 10, 13)


def test_paper_network_has_aspp_and_decoder_of_the_paper():
    network = build_network("paper", 11)
    branches = network.aspp.branches
    assert [b[0].dilation[0] for b in branches[:4]] == [1, 6, 12, 18]
    assert network.decoder.low_level[0].weight.shape == (48, 24, 1, 1)
    wide = [m for m in network.decoder.convolutions.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in wide] == [(256, 304, 3, 3), (256, 256, 3, 3)]


def test_light_network_is_separable_throughout_aspp_and_decoder():
    network = build_network("light", 11)
    for part in (network.aspp, network.decoder):
        for module in part.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                assert module.groups == module.in_channels


def test_normalisation_is_part_of_the_network():
    normalization = InputNormalization((0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close(normalization(white).flatten(), torch.tensor([1.0, 3.0, 1.0]))
    network = build_network("light", 3, width=0.1).eval()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(network(image), network(image.float()))


def test_an_unknown_network_is_refused_with_the_choices():
    with pytest.raises(UsageError, match="paper, light"):
        build_network("unet", 3)
