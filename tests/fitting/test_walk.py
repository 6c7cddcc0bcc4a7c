"""Somebody else's network, from its ONNX file to a ranking by its own fitted difficulty head."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from deal.cli.fit_head import command as fit_head
from deal.cli.score import command as score
from deal.cli.select import command as select
from deal.engines import open_engine
from deal.model.head import DifficultyHead
from deal.results.reading import read_results
from deal.synthetic.scenes import CLASSES, scene, write_dataset, write_pool
from tests.oracle import reference

torch = pytest.importorskip("torch")
nn = torch.nn

SIZE = (64, 96)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OPTIONS = {"classes": list(CLASSES), "mean": MEAN, "std": STD, "input_size": list(SIZE)}


class UNet(nn.Module):
    """Two levels, full-resolution logits."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.last = nn.Conv2d(24, len(CLASSES), 3, padding=1)

    def forward(self, image):
        shallow = self.down(image)
        return self.last(torch.cat([shallow, self.up(self.deep(shallow)).relu()], dim=1))


class SegFormer(nn.Module):
    """transformers' SegFormer, made small; logits at a quarter of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        config = transformers.SegformerConfig(
            num_labels=len(CLASSES),
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 16, 24, 32],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=24,
        )
        self.network = transformers.SegformerForSemanticSegmentation(config)

    def forward(self, image):
        return self.network(image).logits


def train(module: nn.Module, steps: int) -> None:
    """A few steps on synthetic scenes: most pixels end up as sky, road or building."""
    scenes = [scene(seed, SIZE) for seed in range(8)]
    images = torch.from_numpy(np.stack([rgb for rgb, _ in scenes])).permute(0, 3, 1, 2) / 255
    images = (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    labels = torch.from_numpy(np.stack([label for _, label in scenes])).long()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        z = nn.functional.interpolate(module(images), size=SIZE, mode="bilinear")
        loss = nn.functional.cross_entropy(z, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def export(module: nn.Module, path: Path) -> None:
    """A plain export, nothing of deal in it."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, 3, *SIZE),),
            path,
            dynamo=False,  # many times faster than the other exporter
            input_names=["pixel_values"],
            output_names=["logits"],
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write_dataset(root / "labeled", train=8, val=4, test=0, size=SIZE)
    write_pool(root / "pool", 6, size=SIZE)
    return root


def invoke(command, *arguments: object) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def ids(folder: Path) -> list[str]:
    with open(folder / "selection.csv", newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("network", [UNet, SegFormer])
def test_a_foreign_network_gets_a_head_and_its_pool_a_ranking(network, data, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = network()
    train(module, 15)
    model, head, out = tmp_path / "model.onnx", tmp_path / "head.json", tmp_path / "out"
    export(module, model)
    torch.set_num_threads(threads)
    options = [
        argument
        for key, value in OPTIONS.items()
        for argument in ("--model-option", f"{key}={json.dumps(value)}")
    ]

    fitted = json.loads(
        invoke(
            fit_head,
            "--model",
            model,
            "--data",
            data / "labeled",
            "-o",
            head,
            "--json",
            "--pixels",
            8000,
            *options,
        )
    )
    held_out = fitted["provenance"]["held_out"]
    assert held_out["rule"] == "split val"
    assert held_out["pixels"] == 4 * SIZE[0] * SIZE[1]
    assert held_out["scores"]["difficulty"]["auroc"] > 0.55
    assert len(held_out["classes"]) > 1

    run = ["--model", model, "--output", out, "--acquisition", "ds", "--difficulty-head", head]
    invoke(score, data / "pool", *run, *options)
    table = read_results([out])
    order = sorted(
        zip(table["id"].to_pylist(), table["difficulty_mean"].to_pylist(), strict=True),
        key=lambda row: (-row[1], row[0]),
    )
    assert ids(out) == [item_id for item_id, _ in order]

    first, mean = order[0]
    image = np.asarray(Image.open(data / "pool" / first))
    logits = open_engine(model, options=OPTIONS).infer(image[None]).logits
    loaded = DifficultyHead.load(head)
    grid = reference.difficulty_grid(logits, loaded, align_corners=False)
    oracle = reference.difficulty_map(grid, SIZE, align_corners=False)
    assert mean == pytest.approx(oracle.mean(), abs=1e-4)

    for name in ("de", fitted["provenance"]["recommended_acquisition"]):
        invoke(select, out, "--acquisition", name, "--output", tmp_path / name)
        assert sorted(ids(tmp_path / name)) == sorted(ids(out))
