"""Builds deal._native (pybind11 over the C ABI of csrc/deal.h) from explicit sources.

DEAL_CUDA=auto|0|1   build the CUDA kernels: if nvcc is found (default), never, or always
DEAL_DEBUG=1         -O1 with debug information and assertions
DEAL_SANITIZE=LIST   compile and link with -fsanitize=LIST (address,undefined)
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "deal/_version.py").read_text(), re.M)[1]

setup(
    version=VERSION,
    packages=["deal", "deal.cli", "deal.engines", "deal.training", "deal.export", "deal.bench"],
    package_dir={"deal": "deal", "deal.export": "export", "deal.bench": "bench"},
    package_data={"deal": ["py.typed", "*.pyi", "demo/*", "demo/pool/*"]},
)
