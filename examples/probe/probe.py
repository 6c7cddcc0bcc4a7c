"""A round of ``deal loop``: the last layer alone, by ``probe.py LABELED OUTPUT``.

``prepare.py`` comes first. Both the layer and the difficulty head are convex problems that start at
zero, so what is labeled alone decides the model.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def minimise(parameters: Tensor, loss: Callable[[], Tensor], steps: int) -> Tensor:
    """Parameters after so many steps of L-BFGS."""
    optimizer = torch.optim.LBFGS(
        [parameters], max_iter=steps, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    return parameters.detach()


def fit_classifier(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """Weights and biases [E+1,C] for features [M,E] and classes [M], rare classes weighed up."""
    weight = 1 / torch.log(1.1 + torch.bincount(y, minlength=classes) / len(y))
    layer = torch.zeros(x.shape[1] + 1, classes, requires_grad=True)

    def loss() -> Tensor:
        fit = F.cross_entropy(x @ layer[:-1] + layer[-1], y, weight=weight)
        return fit + 3e-4 * (layer[:-1] ** 2).sum()

    return minimise(layer, loss, 40)


def fit_head(p: Tensor, wrong: Tensor) -> Tensor:
    """Weights and bias [C+1] of difficulty without attention, for probabilities [M,C].

    Right and wrong pixels are weighed as in the loss of DEAL's released code: each kind by 1/√n of
    its own mean.
    """
    weight = torch.where(wrong, wrong.sum() ** -1.5, (~wrong).sum() ** -1.5).double()
    weight /= weight.sum()
    head = torch.zeros(p.shape[1] + 1, dtype=torch.double, requires_grad=True)

    def loss() -> Tensor:
        logits = p @ head[:-1] + head[-1]
        fit = F.binary_cross_entropy_with_logits(logits, wrong.double(), reduction="none")
        return (weight * fit).sum() + 1e-4 * (head[:-1] ** 2).sum()

    return minimise(head, loss, 100)


def sampled(label: str, height: int, width: int) -> Tensor:
    """Labels [height,width] of the pixels that features are of."""
    values = np.array(Image.open(label))
    y, x = (
        np.round(np.linspace(0, size - 1, count)).astype(int)
        for size, count in zip(values.shape, (height, width), strict=True)
    )
    return torch.from_numpy(values[y][:, x]).long()


def main(labeled: str, output: str) -> None:
    """Fit on the images of a CSV file and write the model."""
    here = Path(__file__).parent
    torch.set_num_threads(1)
    data = torch.load(here / "features.pt", mmap=True)
    model = onnx.load(here / "template.onnx")
    metadata = next(item for item in model.metadata_props if item.key == "deal")
    contract = json.loads(metadata.value)
    classes = len(contract["classes"])

    with open(labeled, newline="") as file:
        files = [(Path(row["image"]).name, row["label"]) for row in csv.DictReader(file)]
    features = data["features"][[data["names"].index(name) for name, _ in files]]
    x = features.float().permute(0, 2, 3, 1).flatten(0, 2)
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    y = torch.stack([sampled(label, *features.shape[2:]) for _, label in files]).flatten()
    keep = y != contract["ignore_index"]
    x, y = ((x - mean) / deviation)[keep], y[keep]

    layer = fit_classifier(x, y, classes)
    p = (x @ layer[:-1] + layer[-1]).softmax(1).double()
    wrong = p.argmax(1) != y
    head = fit_head(p, wrong)

    matrix = (layer[:-1] / deviation[:, None]).T
    found = {
        "network.last.weight": matrix.reshape(classes, -1, 1, 1),
        "network.last.bias": layer[-1] - matrix @ mean,
    }
    for tensor in model.graph.initializer:
        if tensor.name in found:
            values = found.pop(tensor.name).numpy()
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert not found, "template.onnx has no open last layer"
    contract["difficulty_head"] = {
        "gamma": 0.0,
        "weight": head[:-1].tolist(),
        "bias": float(head[-1]),
        "grid": None,
    }
    metadata.value = json.dumps(contract)
    onnx.save(model, output)
    share = 100 * float(wrong.float().mean())
    print(f"{len(files)} images, {share:.1f} % of {len(y)} pixels wrong")


if __name__ == "__main__":
    main(*sys.argv[1:])
