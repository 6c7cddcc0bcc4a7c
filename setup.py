"""Builds deal._native (pybind11 over the C ABI of csrc/deal.h) from explicit sources.

DEAL_SANITIZE=LIST   compile and link with -fsanitize=LIST, for example address,undefined
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "deal/_version.py").read_text(), re.M)[1]

LIBRARY_SOURCES = [
    "csrc/attention_cpu.cpp",
    "csrc/deal_c.cpp",
    "csrc/image_job.cpp",
    "csrc/kernels_avx2.cpp",
    "csrc/kernels_portable.cpp",
    "csrc/statistics_cpu.cpp",
    "csrc/sums.cpp",
    "csrc/thread_pool.cpp",
]
BINDING_SOURCES = ["csrc/binding.cpp", "csrc/tensor_py.cpp"]

# Contraction off: results are the same bits on every instruction set.
compile_args = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-pthread", "-Wall", "-Wextra"]
link_args = ["-pthread"]
if sanitize := os.environ.get("DEAL_SANITIZE"):
    compile_args += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g", "-O1"]
    link_args += [f"-fsanitize={sanitize}"]

native = Pybind11Extension(
    "deal._native",
    LIBRARY_SOURCES + BINDING_SOURCES,
    depends=[str(path.relative_to(ROOT)) for path in sorted((ROOT / "csrc").glob("*.h"))],
    include_dirs=["csrc"],
    define_macros=[("DEAL_VERSION", f'"{VERSION}"')],
    cxx_std=17,
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

ParallelCompile("DEAL_BUILD_JOBS", default=os.cpu_count() or 1).install()
setup(
    version=VERSION,
    packages=["deal", "deal.cli", "deal.engines", "deal.training", "deal.export", "deal.bench"],
    package_dir={"deal": "deal", "deal.export": "export", "deal.bench": "bench"},
    package_data={"deal": ["py.typed", "*.pyi", "demo/*", "demo/pool/*"]},
    ext_modules=[native],
)
