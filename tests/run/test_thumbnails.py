"""Every decoded image is stored with its signature, however the run was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import read_results
from deal.pool.decode import decode_bytes
from deal.pool.signature import thumbnail
from deal.run.pipeline import score_pool
from tests.helpers.models import metadata, save_model, scenes

SIZE = (24, 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m.onnx", exact=True, props=metadata())


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five views, one of them twice, in several sizes; and a file that is no image."""
    folder = tmp_path_factory.mktemp("pool")
    for number, view in enumerate(scenes(5, SIZE)):
        Image.fromarray(view).resize((32 + 7 * number, 24)).save(folder / f"{number}.png")
    (folder / "4-again.png").write_bytes((folder / "4.png").read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


def stored(pool: Path, model: Path, output: Path, **options: Any) -> dict[str, bytes | None]:
    score_pool(pool, model=model, output=output, **options)
    table = read_results(output, ["id", "thumbnail"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 4},
        {"sessions": 2, "decode_threads": 3},
        {"dedup": 1},
        {"raster": "image"},
    ],
)
def test_a_signature_depends_on_the_image_alone(
    pool: Path, model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    found = stored(pool, model, tmp_path / "out", **options)
    expected = {
        path.name: thumbnail(np.asarray(Image.open(path))).tobytes()
        for path in pool.glob("[0-9]*.png")
    }
    assert found == {**expected, "broken.png": None}


def test_shards_give_the_signatures_of_one_run(pool: Path, model: Path, tmp_path: Path) -> None:
    whole = stored(pool, model, tmp_path / "whole")
    for shard in ("0/2", "1/2"):
        parts = stored(pool, model, tmp_path / "parts", shard=shard)
    assert parts == whole


def test_an_image_that_only_the_network_refuses_has_a_signature(pool: Path, tmp_path: Path) -> None:
    props = metadata(size_multiple=24, resize="none", input_size=None)
    model = save_model(tmp_path / "m.onnx", exact=True, props=props)
    found = stored(pool, model, tmp_path / "out")
    status = read_results(tmp_path / "out", ["id", "status"]).to_pylist()
    assert {row["status"] for row in status if row["id"] == "1.png"} == {"error"}
    decoded = decode_bytes((pool / "1.png").read_bytes())
    assert found["1.png"] == thumbnail(decoded.image).tobytes()
