import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from deal import read_results
from deal.run.pipeline import score_pool
from deal.scoring.session import Session
from tests.helpers.models import metadata, save_model, scenes


@pytest.fixture
def opened(monkeypatch):
    """Sessions that were opened beside the first, one entry each."""
    sessions = []
    again = Session.again

    def counted(self, **options):
        sessions.append(self)
        return again(self, **options)

    monkeypatch.setattr(Session, "again", counted)
    return sessions


def test_sessions_are_opened_only_for_work(tmp_path, opened):
    (tmp_path / "pool").mkdir()
    for index, pixels in enumerate(scenes(4)):
        Image.fromarray(pixels).save(tmp_path / "pool" / f"{index}.png")
    model = save_model(tmp_path / "m.onnx", props=metadata())
    run = {"model": model, "output": tmp_path / "out", "sessions": 64, "threads": 1}
    assert score_pool(tmp_path / "pool", **run).scored == 4
    assert len(opened) <= 4
    opened.clear()
    assert score_pool(tmp_path / "pool", **run).skipped == 4
    assert not opened


def test_scaled_decoding_keeps_sizes_and_nearly_the_scores(tmp_path):
    (tmp_path / "pool").mkdir()
    for index, pixels in enumerate(scenes(6, (24, 32))):
        frame = Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC)
        frame.save(tmp_path / "pool" / f"{index}.jpg", quality=95)
    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[24, 32]))
    mask = np.ones((96, 128), np.uint8)
    mask[48:] = 0
    tables = []
    for name, scaled in (("scaled", True), ("full", False)):
        run = {"model": model, "output": tmp_path / name, "scaled_decode": scaled}
        score_pool(tmp_path / "pool", **run, mask=mask, regions="slic:6")
        tables.append(read_results([tmp_path / name]).sort_by("id"))
    for table in tables:
        assert set(table["width"].to_pylist()) == {128}
        assert set(table["height"].to_pylist()) == {96}
        assert set(table["raster_width"].to_pylist()) == {32}
        assert set(table["n_pixels"].to_pylist()) == {12 * 32}
    scaled, full = (np.array(table["entropy_mean"]) for table in tables)
    assert not np.array_equal(scaled, full)
    assert np.allclose(scaled, full, rtol=0.02)
    regions = parquet.read_table(tmp_path / "scaled" / "regions")
    assert max(regions["x1"].to_pylist()) == 128


def test_what_is_decoded_to_scale_is_part_of_the_fingerprint(tmp_path):
    fixed = save_model(tmp_path / "a.onnx", props=metadata(input_size=[24, 32]))
    free = save_model(tmp_path / "b.onnx", props=metadata())
    nearest = save_model(
        tmp_path / "c.onnx", props=metadata(input_size=[24, 32], interpolation="nearest")
    )
    found = []
    for path, options in (
        (fixed, {}),
        (fixed, {"scaled_decode": False}),
        (fixed, {"raster": "image"}),
        (free, {}),
        (nearest, {}),
    ):
        with Session.open(path, **options) as scorer:
            found.append((scorer.at_least, scorer.fingerprint_settings().get("scaled_decode")))
    assert found == [((24, 32), True), *[(None, None)] * 4]
