"""Folders for what is not finished."""

import os

import pytest

from deal.machine.working import working_folder

GONE = 2**22 + 1  # no process has it: Linux's numbers end at 2**22


def test_a_folder_goes_when_its_block_ends_or_raises(tmp_path):
    with working_folder(tmp_path, "m.onnx") as folder:
        (folder / "m.onnx").touch()
        assert folder.name.startswith(f"_m.onnx.{os.getpid()}.")
    with pytest.raises(ValueError, match="x"), working_folder(tmp_path, "m.onnx"):
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path):
    left = tmp_path / f"_m.onnx.{GONE}.abcdefgh.tmp"
    (left / "inside").mkdir(parents=True)
    others = [f"_m.onnx.{os.getpid()}.abcdefgh.tmp", f"m.onnx.{GONE}.abcdefgh.tmp", "_m.onnx.tmp"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / f"_file.{GONE}.abcdefgh.tmp").touch()
    with working_folder(tmp_path, "other"):
        pass
    assert not left.exists()
    assert {*others, f"_file.{GONE}.abcdefgh.tmp"} == {p.name for p in tmp_path.iterdir()}


def test_a_folder_that_is_locked_from_elsewhere_stays(tmp_path):
    """A process of another machine has a number that is nobody's here."""
    with working_folder(tmp_path, "m.onnx") as folder:
        foreign = folder.with_name(f"_m.onnx.{GONE}.abcdefgh.tmp")
        folder.rename(foreign)
        with working_folder(tmp_path, "other"):
            pass
        assert foreign.exists()
