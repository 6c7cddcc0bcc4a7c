"""Builds deal._native (pybind11 over the C ABI of csrc/abi/deal.h) from csrc/sources.txt.

DEAL_CUDA=auto|0|1   CUDA kernels: where there is nvcc (auto, the default), never, always
DEAL_CUDA_ARCHS=LIST compute capabilities from 75 on, by default "75;80;90": T4 to H200; or "all"
                     of the toolkit. The first and the last also as PTX, which the driver compiles
                     for other GPUs at their first use.
DEAL_BUILD_JOBS=N    files compiled at the same time, by default one per core
DEAL_SANITIZE=LIST   compile and link with -fsanitize=LIST, for example address,undefined
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext

DEFAULT_ARCHS = ("75", "80", "90")
ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "deal/_version.py").read_text(), re.M)[1]

CSRC = ROOT / "csrc"
HEADERS = [str(path.relative_to(ROOT)) for path in sorted(CSRC.glob("*/*.[hd]*"))]
JOBS = int(os.environ.get("DEAL_BUILD_JOBS") or os.cpu_count() or 1)


def sources(group: str) -> list[str]:
    """The files of a group of csrc/sources.txt, as paths from here."""
    words = [line.split() for line in (CSRC / "sources.txt").read_text().splitlines()]
    return [f"csrc/{line[1]}" for line in words if line[:1] == [group]]


# Contraction off: results are the same bits on every instruction set.
compile_args = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-pthread", "-Wall", "-Wextra"]
link_args = ["-pthread"]
if sanitize := os.environ.get("DEAL_SANITIZE"):
    compile_args += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g", "-O1"]
    link_args += [f"-fsanitize={sanitize}"]


def find_nvcc() -> str | None:
    """The compiler of the CUDA kernels, or None for a build without them."""
    wanted = os.environ.get("DEAL_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"DEAL_CUDA={wanted}: auto, 0 or 1")
    if wanted == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None)
    if nvcc is None and wanted == "1":
        where = f"in {home}/bin" if home else "on PATH; put it there or set CUDA_HOME"
        raise SystemExit(f"DEAL_CUDA=1, but there is no nvcc {where}")
    return nvcc


def wanted_archs(nvcc: str) -> list[str]:
    """Compute capabilities as nvcc writes them, rising: ``["80", "90"]``."""
    command = [nvcc, "--list-gpu-arch"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    known = sorted({int(arch) for arch in re.findall(r"compute_(\d+)\b", told)})
    known = [str(arch) for arch in known if arch >= 75]
    wanted = os.environ.get("DEAL_CUDA_ARCHS")
    if wanted is None:
        return [arch for arch in DEFAULT_ARCHS if arch in known]
    if wanted == "all":
        return known
    archs = wanted.split(";")
    if not set(archs) <= set(known):
        raise SystemExit(
            f'DEAL_CUDA_ARCHS={wanted}: {nvcc} knows {";".join(known)}; give some of them, or "all"'
        )
    return sorted(archs, key=int)


class BuildWithCuda(build_ext):
    """Compiles the .cu files with nvcc, and links CUDA's runtime statically.

    The extension imports where there is neither a driver nor a toolkit.
    """

    def build_extension(self, ext: Pybind11Extension) -> None:
        nvcc = find_nvcc()
        if nvcc is None:
            ext.sources += sources("without_cuda")
        else:
            with ThreadPoolExecutor(JOBS) as pool:
                compiled = pool.map(lambda source: self._compile(nvcc, source), sources("cuda"))
                ext.extra_objects = list(compiled)
            ext.libraries += ["cudart_static", "dl", "rt"]
            ext.library_dirs += self._library_folders(nvcc)
            # Hidden, or another CUDA runtime in the process (PyTorch's) would be called instead.
            ext.extra_link_args += ["-Wl,--exclude-libs,libcudart_static.a"]
        super().build_extension(ext)

    def _compile(self, nvcc: str, source: str) -> str:
        target = Path(self.build_temp) / Path(source).with_suffix(".cu.o")
        target.parent.mkdir(parents=True, exist_ok=True)
        archs = wanted_archs(nvcc)
        codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
        # Code that the driver compiles: the newest for later GPUs, the oldest for those between.
        codes += [f"-gencode=arch=compute_{a},code=compute_{a}" for a in {archs[0], archs[-1]}]
        command = [nvcc, "-std=c++17", "-O3", "-Icsrc", "-c", source, "-o", str(target)]
        command += [*sorted(codes), "--threads=0"]
        # As on the CPU: no contraction, exact division. Hidden: only deal_* is exported.
        command += ["--fmad=false", "--prec-div=true"]
        command += ["-Xcompiler=-fPIC,-fvisibility=hidden,-ffp-contract=off"]
        print(" ".join(command), flush=True)
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"{nvcc} failed on {source}; set DEAL_CUDA=0 to build without CUDA")
        return str(target)

    @staticmethod
    def _library_folders(nvcc: str) -> list[str]:
        """Where nvcc itself finds its libraries."""
        command = [nvcc, "--dryrun", "-x", "cu", os.devnull, "-o", "unused"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        return re.findall(r'"-L([^"]+)"', re.search(r"LIBRARIES=(.*)", told)[1])


native = Pybind11Extension(
    "deal._native",
    sources("binding") + sources("library"),  # the slowest first
    depends=["csrc/sources.txt", *HEADERS, *sources("cuda"), *sources("without_cuda")],
    include_dirs=["csrc"],
    # DEAL_BUILDING exports the C ABI: bench/gpu times deal_enqueue apart from deal_finish.
    define_macros=[("DEAL_VERSION", f'"{VERSION}"'), ("DEAL_BUILDING", None)],
    cxx_std=17,
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)

ParallelCompile(default=JOBS).install()
setup(
    version=VERSION,
    # deal/export and deal/bench are links to the folders export/ and bench/ of the top level.
    packages=find_packages(include=["deal", "deal.*"]),
    package_data={
        "deal": ["py.typed", "*.pyi", "demo/*", "demo/pool/*", "loop/presets/*.toml", "look.css"],
        "deal.viewing": ["static/*"],
    },
    ext_modules=[native],
    cmdclass={"build_ext": BuildWithCuda},
    # A plain path entry, which editors and type checkers can follow.
    options={"editable_wheel": {"mode": "compat"}},
)
