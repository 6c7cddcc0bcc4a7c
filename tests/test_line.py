import pytest
from PIL import Image

from deal.pipeline import score_pool
from deal.scorer import Scorer
from tests.models import metadata, save_model, scenes


@pytest.fixture
def opened(monkeypatch):
    """Sessions that were opened beside the first, one entry each."""
    sessions = []
    again = Scorer.again

    def counted(self):
        sessions.append(self)
        return again(self)

    monkeypatch.setattr(Scorer, "again", counted)
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
