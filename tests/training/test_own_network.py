"""Somebody else's network with the difficulty branch: trained, exported, scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deal import score_pool
from deal.errors import ModelError, UsageError
from deal.export.onnx import export_module
from deal.model.spec import read_spec
from deal.results.reading import read_results
from deal.synthetic.scenes import CLASSES, PALETTE, scene, write_pool
from deal.training import WithDifficulty, joint_loss
from tests.helpers.exports import kept_exports

SIZE = (64, 96)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class UNet(nn.Module):
    """Takes multiples of 4 alone; logits of full resolution."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.deep = nn.Sequential(nn.Conv2d(12, 12, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 12, 2, stride=2)
        self.top = nn.ConvTranspose2d(24, 8, 2, stride=2)
        self.drop = nn.Dropout(drop)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, image):
        full = self.first(image)
        half = self.down(full).relu()
        y = torch.cat([half, self.up(self.deep(half))], dim=1)
        return self.last(self.drop(torch.cat([full, self.top(y)], dim=1)))


def segformer() -> nn.Module:
    """transformers' SegFormer from a configuration, made small; no weights are loaded."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.SegformerConfig(
        num_labels=len(CLASSES),
        num_encoder_blocks=2,
        depths=[1, 1],
        hidden_sizes=[8, 16],
        num_attention_heads=[1, 2],
        decoder_hidden_size=24,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def normalised(images: np.ndarray) -> torch.Tensor:
    """uint8 [N,H,W,3] → what the network takes, float32 [N,3,H,W]."""
    values = (torch.from_numpy(images) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return values.permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def trained():
    """A SegFormer and its branch after some steps, and their losses."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = WithDifficulty(segformer(), len(CLASSES), align_corners=False)
    scenes = [scene(seed, SIZE) for seed in range(6)]
    images = normalised(np.stack([rgb for rgb, _ in scenes]))
    labels = torch.from_numpy(np.stack([label for _, label in scenes])).long()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.005)
    losses = []
    for _ in range(15):
        logits, difficulty = module(images)
        loss = joint_loss(logits, difficulty, labels, ignore_index=255, align_corners=False)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append((loss.segmentation.item(), loss.difficulty.item()))
    torch.set_num_threads(threads)
    return module, losses


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("segformer") / "segformer.onnx"
    images = [scene(seed, SIZE)[0] for seed in range(4)]
    with kept_exports():
        parity = export_module(
            trained[0],
            path,
            classes=CLASSES,
            palette=PALETTE,
            ignore_index=255,
            input_size=SIZE,
            mean=MEAN,
            std=STD,
            images=images,
            embedding=True,
        )
    return path, parity


@pytest.mark.slow
def test_a_segformer_trains_with_the_branch(trained):
    module, losses = trained
    assert losses[-1][0] < 0.8 * losses[0][0]
    assert sum(losses[-1]) < sum(losses[0])
    head = module.head()
    assert head.gamma != 0  # where it began
    assert head.num_classes == len(CLASSES)


@pytest.mark.slow
def test_its_export_carries_contract_and_head_and_says_what_pytorch_says(trained, exported):
    module, _ = trained
    path, parity = exported
    assert module.training  # left as it was
    assert parity.images == 4
    assert parity.max_logit_difference < 1e-3
    spec = read_spec(path)
    assert spec.classes == tuple(CLASSES)
    assert (spec.input_format, spec.input_size, spec.align_corners) == ("rgb8", SIZE, False)
    assert spec.mean is None  # it is inside the graph
    assert spec.difficulty_head == module.head()


@pytest.mark.slow
def test_a_pool_is_scored_by_the_branch_as_it_was_trained(trained, exported, tmp_path):
    module, _ = trained
    write_pool(tmp_path / "pool", 3, size=SIZE)
    report = score_pool(
        tmp_path / "pool",
        model=exported[0],
        output=tmp_path / "out",
        acquisition="ds",
        device="cpu",
    )
    assert report.scored == 3
    table = read_results(tmp_path / "out")
    module.eval()
    uris, means = (table[name].to_pylist() for name in ("uri", "difficulty_mean"))
    for uri, mean in zip(uris, means, strict=True):
        with torch.no_grad():
            _, difficulty = module(normalised(read_rgb(uri)[None]))
            a = nn.functional.interpolate(difficulty, SIZE, mode="bilinear", align_corners=False)
        assert mean == pytest.approx(a.sigmoid().mean().item(), abs=1e-3)
    module.train()


def read_rgb(path: str) -> np.ndarray:
    from deal.pool.decode import decode_bytes

    with open(path, "rb") as file:
        return decode_bytes(file.read()).image


def export_unet(path, module=None, **options):
    module = module or WithDifficulty(UNet(), 5)
    values = {"classes": list("abcde"), "input_size": (32, 48), "images": images(), **options}
    return export_module(module, path, **values)


def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(2)]


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_a_network_that_takes_multiples_of_a_size_says_so(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "unet.onnx"
    export_unet(path, size_multiple=4)
    spec = read_spec(path)
    assert (spec.size_multiple, spec.input_size) == (4, (32, 48))
    with pytest.raises(ModelError, match="only takes multiples of a size, set size_multiple"):
        export_unet(tmp_path / "any.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["unet.onnx"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mean": MEAN}, UsageError, "mean and std go together"),
        ({"classes": list("abcd")}, UsageError, "4 classes are named, the network has 5"),
        ({"palette": [(0, 0, 0)]}, ModelError, "palette has 1 colours for 5 classes"),
        ({"input_size": (32, 50)}, UsageError, "not a multiple of size_multiple 4"),
        ({"mean": [0.5], "std": [0.5]}, UsageError, "one number per channel, 3 each"),
        ({"size_multiple": 0}, UsageError, "size_multiple must be 1 or more, not 0"),
        ({"dropout": True}, ModelError, "no dropout layers to export"),
    ],
)
def test_what_is_said_of_a_network_is_checked_before_it_is_traced(
    tmp_path, monkeypatch, options, error, message
):
    monkeypatch.setattr("deal.export.onnx.to_onnx", None)
    with pytest.raises(error, match=message):
        export_unet(tmp_path / "m.onnx", **{"size_multiple": 4, **options})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
@pytest.mark.parametrize("embedding", [False, True])
def test_dropout_of_a_network_that_does_not_take_64_pixels(tmp_path, embedding):
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.drop = nn.Conv2d(3, 6, 12, stride=12), nn.Dropout(0.5)
            self.up, self.last = nn.ConvTranspose2d(6, 3, 12, stride=12), nn.Conv2d(3, 5, 1)

        def forward(self, image):
            return self.last(image + self.up(self.drop(self.down(image))))

    path = tmp_path / "patches.onnx"
    module = WithDifficulty(Patches(), 5)
    values = {"input_size": (36, 48), "size_multiple": 12, "tolerance": 0.01}
    export_unet(path, module, embedding=embedding, dropout=True, **values)
    spec = read_spec(path)
    assert [layer.channels for layer in spec.dropout] == [6]
    assert (spec.embedding_name is not None) == embedding


def test_a_dropout_layer_that_is_never_run_is_refused(tmp_path):
    network = UNet(0.5)
    network.spare = nn.Dropout(0.5)
    with pytest.raises(ModelError, match="never runs 1 of its 2 dropout layers: give those p = 0"):
        export_unet(tmp_path / "m.onnx", WithDifficulty(network, 5), size_multiple=4, dropout=True)


def test_dropout_of_tokens_is_no_dropout_of_channels(tmp_path):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.drop = nn.Conv2d(3, 5, 4, stride=4), nn.Dropout(0.5)

        def forward(self, image):
            y = self.first(image)
            return self.drop(y.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(y.shape)

    module = WithDifficulty(Tokens(), 5)
    with pytest.raises(ModelError, match=r"shape \[1, 256, 5\], but masks need feature maps"):
        export_unet(tmp_path / "m.onnx", module, dropout=True)
