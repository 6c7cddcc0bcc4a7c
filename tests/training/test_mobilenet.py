"""MobileNetV2: torchvision's names and sizes; ImageNet weights from a file."""

from __future__ import annotations

import pytest
import torch

from deal.errors import ModelError
from deal.training.mobilenet import MobileNetV2, scaled_channels
from deal.training.weights import load_encoder


def torchvision_state(seed: int = 3) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of torchvision's mobilenet_v2."""
    torch.manual_seed(seed)
    state = dict(MobileNetV2().state_dict())
    state["features.18.0.weight"] = torch.randn(1280, 320, 1, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        state[f"features.18.1.{name}"] = torch.ones(1280)
    state["classifier.1.weight"] = torch.zeros(1000, 1280)
    state["classifier.1.bias"] = torch.zeros(1000)
    return state


def test_backbone_has_torchvisions_parameters_up_to_the_classification_layers():
    count = sum(p.numel() for p in MobileNetV2().parameters())
    last_convolution = 320 * 1280 + 2 * 1280
    assert count + last_convolution == 2_223_872


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("features.0.0.weight", (32, 3, 3, 3)),
        ("features.0.1.running_mean", (32,)),
        ("features.1.conv.0.0.weight", (32, 1, 3, 3)),
        ("features.1.conv.1.weight", (16, 32, 1, 1)),
        ("features.2.conv.1.0.weight", (96, 1, 3, 3)),
        ("features.17.conv.2.weight", (320, 960, 1, 1)),
        ("features.17.conv.3.bias", (320,)),
    ],
)
def test_parameters_are_named_as_in_torchvision(name, shape):
    assert tuple(MobileNetV2().state_dict()[name].shape) == shape


def test_features_come_at_stride_4_and_16():
    low, high = MobileNetV2().eval()(torch.zeros(1, 3, 97, 130))
    assert low.shape == (1, 24, 25, 33)
    assert high.shape == (1, 320, 7, 9)


def test_last_stage_is_dilated_except_the_block_that_would_have_strided():
    features = MobileNetV2().features
    dilations = [features[i].conv[1][0].dilation[0] for i in range(13, 18)]
    assert dilations == [1, 1, 2, 2, 2]
    assert features[14].conv[1][0].stride == (1, 1)


def test_width_scales_channels_to_multiples_of_eight():
    assert [scaled_channels(c, 0.5) for c in (16, 24, 32, 320)] == [8, 16, 16, 160]
    assert MobileNetV2(0.5).channels == (16, 160)


def test_imagenet_weights_load_from_torchvisions_file(tmp_path):
    state = torchvision_state()
    torch.save(state, tmp_path / "mobilenet_v2.pth")
    torch.manual_seed(0)
    backbone = MobileNetV2()
    load_encoder(backbone, tmp_path / "mobilenet_v2.pth")
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_weights_without_batch_counters_load_too(tmp_path):
    state = {k: v for k, v in torchvision_state().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    backbone = MobileNetV2()
    load_encoder(backbone, tmp_path / "old.pth")
    assert torch.equal(backbone.features[0][0].weight, state["features.0.0.weight"])


def drop(state):
    del state["features.3.conv.2.weight"]


def widen(state):
    state["features.0.0.weight"] = torch.zeros(16, 3, 3, 3)


def rename(state):
    state["backbone.extra"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"1 missing \(first features\.3\.conv\.2\.weight\)"),
        (widen, r"features\.0\.0\.weight is \[16, 3, 3, 3\], not \[32, 3, 3, 3\]"),
        (rename, r"1 unknown \(first backbone\.extra\)"),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path, damage, message):
    state = torchvision_state()
    damage(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=message):
        load_encoder(MobileNetV2(), tmp_path / "other.pth")


class Exploit:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", [1, 2], {"a": 1}, Exploit()])
def test_files_that_are_no_state_dict_are_refused_and_never_run(tmp_path, capsys, content):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=r"weights .*weights\.pth"):
        load_encoder(MobileNetV2(), path)
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pth cannot be read"):
        load_encoder(MobileNetV2(), tmp_path / "none.pth")
