"""What a type checker says of a user's code, of the installed package and of an editable install.

Both are laid out here instead of installed. A wheel holds what ``build_py`` copies, and the
extension, of which a type checker reads the stub alone. An editable install is a path in a ``.pth``
file. A fresh virtual environment gets one of the two, and the packages that the tests run with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mypy")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent

GOOD = """\
import numpy as np

import deal
import deal.bench
import deal.export
from deal.acquisitions import Columns, Scores, load_plugin
from deal.bench.report import Report
from deal.export.onnx import export_module


@deal.acquisition("boundary", requires=["boundary_pixels", "n_pixels"])
def boundary(columns: Columns, *, power: float = 1.0) -> Scores:
    share: Scores = columns["boundary_pixels"] / columns["n_pixels"]
    return share**power


scores: Scores = boundary({"n_pixels": np.ones(1)}, power=2.0)
table = deal.read_results("out/")
deal.acquisition_scores(table, "de", levels=8, edges="image")
deal.acquisition_scores(table, "boundary", acquisition_options={"power": 2.0})
head = deal.DifficultyHead(gamma=0.8, weight=[0.1, 0.2], bias=-0.4, grid=(60, 80))
logits = np.zeros((1, 2, 4, 4), np.float32)
deal.difficulty_map(logits, head, size=(8, 8))
deal.score_logits(logits, size=(8, 8), head=head, regions=deal.Grid(cell=4)).images["entropy_mean"]
try:
    with deal.Scorer("model.onnx", engine="ort", device="cpu", regions="grid:40") as scorer:
        columns = scorer.score([np.zeros((8, 8, 3), np.uint8)])
except deal.ModelError:
    raise
report: deal.RunReport = deal.score_pool(
    "pool/", model="model.onnx", output="out/", engine="ort", threads=2, budget="5%", flip=True
)
chosen: deal.Selection = deal.select(["out/"], acquisition="de", budget=500, levels=8)
names: list[str] = [*load_plugin("mine.py"), *chosen.ids]
fitted: deal.FitReport = deal.fit_head("model.onnx", "labeled/", "head.json")
"""

BAD = """\
import deal
import deal.bench
import deal.export
from deal.acquisitions import boundary  # attr-defined
from deal.export.onnx import exports  # attr-defined

deal.scores  # attr-defined
deal.bench.nothing  # attr-defined
deal.export.nothing  # attr-defined
deal.score_pool("pool/", model="m.onnx", output="out/", thread=3)  # call-arg
deal.score_pool("pool/", model="m.onnx")  # call-arg
deal.score_pool("pool/", model="m.onnx", output="out/", threads="all")  # arg-type
deal.select(["out/"], budgett=500)  # call-arg
deal.select(["out/"], table="pixels")  # arg-type
deal.acquisition_scores({}, "de", level=8)  # call-arg
deal.Scorer("m.onnx", engin="ort")  # call-arg
deal.Scorer("m.onnx").score_batch([])  # attr-defined


@deal.acquisition("far")  # call-arg
def far(columns: object) -> object:
    return columns


far(1, 2)  # call-arg
"""

# What users never see of deal is not followed into packages that take mypy half a minute.
SETTINGS = """\
[mypy]
strict = true
[mypy-torch.*,onnx.*,onnxscript.*]
follow_imports = skip
"""

ERROR = re.compile(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def wheel(packages: Path) -> None:
    """Copy what a wheel holds."""
    command = [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", packages]
    command += ["build_py", "--build-lib", packages]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (packages / "deal" / "py.typed").exists()
    assert (packages / "deal" / "export" / "onnx.py").exists()


def editable(packages: Path) -> None:
    """Name the repository, as an editable install does."""
    (packages / "deal.pth").write_text(f"{ROOT}\n")


def wrong_lines(name: str, code: str) -> list[tuple[str, str, str]]:
    """File, number and error code of each line that ends in a comment, which is the code."""
    lines = enumerate(code.splitlines(), 1)
    return [
        (name, str(number), line.rpartition("# ")[2]) for number, line in lines if "  # " in line
    ]


@pytest.mark.parametrize("install", [wheel, editable])
def test_right_code_passes_strict_checking_and_wrong_names_do_not(
    install: Callable[[Path], None], tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    place = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=place))
    install(packages)
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "good.py", "bad.py"]
    command += ["--python-executable", str(tmp_path / "venv" / "bin" / "python")]
    command += ["--cache-dir", "cache"]
    environment = {name: value for name, value in os.environ.items() if "PATH" not in name}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    found = sorted(ERROR.findall(done.stdout))
    assert found == sorted(wrong_lines("bad.py", BAD)), done.stdout + done.stderr
