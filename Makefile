# make demo            score the bundled sample pool with the bundled model
# make test            every test, Python and C
# make test-emulated   of it CUDA's, emulated on the CPU
# make ctest           of it those of the C library; ctest-sanitized: under sanitizers;
#                      ctest-threads: under the one of data races
# make test-python     of it those of pytest
# make test-fast       of these all but the slow ones
# make test-matrix     tests under other processors, numbers of threads, locales, zones and users
# make ctest-neon      the C tests cross-compiled for AArch64, run by qemu-aarch64
# make torture         faults by the thousand, for MINUTES=20 [SEED=n] [KINDS=images,kills];
#                      counts go to bench/results/reliability.jsonl and docs/reliability.md
# make bench           the figures of the front page, and what moved against those stored for this
#                      processor: ten minutes on two cores; STORE=1 stores them
# make ray             clusters whose images, workers, nodes and drivers die: minutes
# make label-studio    tasks into a real Label Studio server on this machine and back; installs it first
# make rig             build examples/rig with OpenVINO from PyPI and hold it to deal; KILLS=5
# make ros2            run examples/ros2 with ROS 2 from PyPI, and hold it to deal
# make check           formatting, lint and types
# make docs            the documentation as a site: build/docs/index.html; a warning is an error
# make libdeal         the kernel as a C library: build/libdeal.so, header csrc/abi/deal.h
# make packages        Debian packages of the C library for amd64 and arm64, and wheels, into build/packages;
#                      PYTHONS="python3.11 ..." for which; docs/howto/packages.md
# make cuda            compile the CUDA kernels for two architectures; needs nvcc, no GPU.
#                      For every one that nvcc knows: make cuda NVCC_CODES=-arch=all
# make gpu             on a machine with a GPU: build, prove and measure it into OUTPUT; no network
# make models          train and export the bundled demo model again
# make clean           what the targets above made, but .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CXX ?= g++
CC ?= gcc

.PHONY: help demo picture test test-python test-fast test-matrix test-programs test-emulated torture bench ray label-studio rig ros2 check docs libdeal packages cuda gpu ctest ctest-sanitized ctest-threads ctest-neon models clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# //p' $(firstword $(MAKEFILE_LIST))

# ---- Python -------------------------------------------------------------------------------------

HEADERS := $(wildcard csrc/*/*.h csrc/*/*.def)
NATIVE := $(filter-out csrc/cmake/%,$(wildcard csrc/*/*))
NATIVE_INPUTS := setup.py pyproject.toml deal/_version.py csrc/sources.txt $(NATIVE)
# The files of a group of csrc/sources.txt, without what follows the last dot.
sources = $(basename $(shell sed -n 's/^$(1) //p' csrc/sources.txt))

# Runs a command that says nothing by itself, with a dot every two seconds as a sign of life.
patiently = (while sleep 2; do printf .; done) & dots=$$!; trap "kill $$dots 2>/dev/null; echo" EXIT; \
  trap 'exit 130' INT TERM; $(1)
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
NVCC_HERE := $(if $(filter 0,$(DEAL_CUDA)),,$(shell command -v $(CUDA_HOME:%=%/bin/)nvcc))
LONGER := $(if $(NVCC_HERE),; CUDA kernels some more (without them: DEAL_CUDA=0 make demo))

$(BIN)/python:
	@echo "Making a virtual environment in $(VENV): seconds"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/scoring: $(BIN)/python $(NATIVE_INPUTS)
	@echo "Installing what scoring needs and compiling the kernel: one to three minutes$(LONGER)"
	@$(call patiently,$(INSTALL) --editable '.[ort]')
	@touch $@

# Installs what extras name, and not deal itself: it is built, and need not be again.
extras = $(BIN)/python -c 'import sys, tomllib; \
  named = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
  print(*(line for extra in sys.argv[1:] for line in named[extra]), sep="\n")' $(1) >$(VENV)/extras.txt; \
  $(call patiently,$(INSTALL) --requirement $(VENV)/extras.txt)

$(VENV)/testing: $(VENV)/scoring
	@echo "Installing what the tests need, PyTorch among it: some minutes"
	@$(call extras,superpixel train dev)
	@touch $@

demo: $(VENV)/scoring
	@echo "Scoring the bundled pool: seconds"
	@$(BIN)/deal-score --demo --output out/demo --overwrite --previews 12 --budget 5
	@echo
	@echo "Next"
	@echo "  look at what was found     out/demo/previews.jpg"
	@echo "  rank your own images       $(BIN)/deal-score IMAGES/ --model MODEL.onnx --budget 10 --previews 10 --output out/mine"
	@echo "  run every test             make test"

picture: $(VENV)/scoring
	@$(BIN)/deal-score --demo --output out/picture --overwrite --quiet --budget 4 --previews 4 >/dev/null
	@cp out/picture/previews.jpg docs/images/demo.jpg

# Workers of pytest: one more than cores, since some tests wait; WORKERS=0 for none, as a debugger needs.
WORKERS ?= $(shell workers=$$(($$(nproc) + 1)); echo $$((workers < 8 ? workers : 8)))
# With that variable, as in many containers, every worker would compile every test anew.
PYTEST := env --unset=PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

# Programs are compiled and C tests run beside pytest, so that no core waits for another.
test: $(VENV)/testing
	$(MAKE) --no-print-directory --jobs=4 test-python ctest test-emulated

test-python: $(VENV)/testing build/failing_calls.so
	$(PYTEST)

test-fast: $(VENV)/testing build/failing_calls.so
	$(PYTEST) -m 'not slow'

test-matrix: $(VENV)/testing
	.ci/matrix $(PYTEST) -m 'not slow'

# What lies on a CUDA device, on a CPU that plays one.
ON_DEVICE := tests/kernel/test_cuda.py tests/kernel/test_cuda_calls.py tests/scoring/test_scorer_device.py \
  tests/engines/test_device.py tests/engines/test_onnxruntime_cuda.py tests/engines/test_tensorrt.py \
  tests/cli/test_engines.py \
  tests/engines/test_torch_cuda.py

test-emulated: $(VENV)/testing build/emulated/_native.so
	DEAL_NATIVE=build/emulated/_native.so $(PYTEST) $(ON_DEVICE)

# Longer runs add up: docs/reliability.md has the sums of all that are recorded.
MINUTES ?= 20
torture: $(VENV)/testing build/failing_calls.so build/fuzz_deal_sanitized build/fuzz_stream_sanitized
	$(BIN)/python -m tests.torture --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(KINDS),--kinds $(KINDS))
	$(BIN)/python -m tests.torture.page

bench: $(VENV)/testing
	$(BIN)/python -m deal bench headline $(if $(STORE),--result headline)

ray: $(VENV)/testing
	$(BIN)/python -m pytest -q -p no:randomly tests/ray tests/ray/campaign.py

# An environment of its own, since Label Studio brings along a hundred packages.
SERVED := build/label-studio

$(SERVED)/installed: | $(BIN)/python
	@echo "Installing Label Studio into $(SERVED): some minutes"
	@$(PYTHON) -m venv $(SERVED)
	@$(BIN)/python -c 'import tomllib; named = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*named["dependencies"], *named["optional-dependencies"]["ort"], "label-studio", sep="\n")' \
	  >$(SERVED)/packages.txt
	@$(call patiently,$(SERVED)/bin/pip install --quiet --disable-pip-version-check --requirement $(SERVED)/packages.txt)
	@touch $@

label-studio: $(VENV)/scoring $(SERVED)/installed
	$(SERVED)/bin/python -m tests.annotation.serving

# Each has an environment of its own in build/, made by its check.
KILLS ?= 5
rig: $(VENV)/scoring
	$(BIN)/python examples/rig/check.py --kills $(KILLS)
ros2: $(VENV)/testing
	$(BIN)/python examples/ros2/check.py

check: $(VENV)/testing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(NATIVE) examples/consumer/*.c* tests/c/*.c tests/c/*.h tests/c/*.cpp tests/c/*/* bench/*.c bench/*.h bench/gpu/*.cu examples/rig/*.?pp
	$(BIN)/mypy -p deal  # deal/export and deal/bench are links, so this checks all of it

$(VENV)/documenting: $(VENV)/testing
	@echo "Installing what the site needs"
	@$(call extras,docs)
	@touch $@

# All pages anew: what is written from the code does not tell when the code has changed.
docs: $(VENV)/documenting
	$(BIN)/python -m sphinx -E -q -W --keep-going -b html docs build/docs

# ---- C library ----------------------------------------------------------------------------------

LIBRARY := $(call sources,library)
PLAIN := $(LIBRARY) $(call sources,without_cuda)
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' deal/_version.py)
CXXFLAGS ?= -O3
LIBRARY_FLAGS := -std=c++17 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden \
  -ffp-contract=off -fno-math-errno -pthread -Wall -Wextra -DDEAL_BUILDING \
  -DDEAL_VERSION='"$(VERSION)"' -Icsrc
C_FLAGS := -std=c11 -Wall -Wextra -Wno-missing-field-initializers -Icsrc/abi
WITH_LIBDEAL := -Lbuild -Wl,-rpath,'$$ORIGIN' -ldeal -lm -pthread
SANITIZE := -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

build/c/%.o: csrc/%.cpp $(HEADERS)
	@mkdir -p $(@D)
	$(CXX) $(LIBRARY_FLAGS) $(CXXFLAGS) -c $< -o $@

build/sanitized/%.o: csrc/%.cpp $(HEADERS)
	@mkdir -p $(@D)
	$(CXX) $(LIBRARY_FLAGS) $(SANITIZE) -c $< -o $@

EXPORTS := csrc/cmake/exports.map

build/libdeal.so.1: $(PLAIN:%=build/c/%.o) $(EXPORTS)
	$(CXX) -shared -Wl,-soname,libdeal.so.1 -Wl,-z,defs -Wl,--version-script=$(EXPORTS) -pthread \
	  $(filter %.o,$^) -o $@

build/libdeal.so: build/libdeal.so.1
	ln -sf libdeal.so.1 $@

libdeal: build/libdeal.so

# Compiled by CMake (CMakeLists.txt), from the same list of sources, with the same flags.
packages: $(VENV)/scoring
	PYTHON=$(PYTHON) csrc/cmake/packages.sh $(PYTHONS)

C_TESTS := test_deal test_deal_calls test_quantised test_scores test_stream test_isa
C_FUZZERS := fuzz_deal fuzz_stream
C_TEST_HEADERS := $(wildcard tests/c/*.h csrc/abi/*.h)

$(C_TESTS:%=build/%) $(C_FUZZERS:%=build/%): build/%: tests/c/%.c $(C_TEST_HEADERS) build/libdeal.so
	$(CC) -O2 $(C_FLAGS) $< $(WITH_LIBDEAL) -o $@

CXX_WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror

build/test_hpp: tests/c/test_hpp.cpp $(wildcard csrc/abi/deal*.h*) build/libdeal.so
	$(CXX) -O2 -std=c++17 $(CXX_WARNINGS) -Icsrc/abi $< $(WITH_LIBDEAL) -o $@

RIG_FILES := examples/rig/recorder examples/rig/journal examples/rig/files

build/test_recorder: tests/c/test_recorder.cpp $(RIG_FILES:%=%.cpp) $(RIG_FILES:%=%.hpp) \
  $(wildcard csrc/abi/deal*.h*) build/libdeal.so
	$(CXX) -O2 -std=c++17 $(CXX_WARNINGS) -Icsrc/abi $(filter %.cpp,$^) $(WITH_LIBDEAL) -o $@

# What deal bench latency and deal bench stream run.
build/bench_latency build/bench_stream: build/bench_%: bench/%.c bench/allocations.h csrc/abi/deal.h \
  csrc/abi/deal_stream.h build/libdeal.so
	$(CC) -O2 $(C_FLAGS) $< $(WITH_LIBDEAL) -o $@

# What deal bench kernel tells the clock by.
build/bench_clock.so: bench/clock.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -Wall -Wextra -shared -fPIC $< -o $@

# What make torture lets system calls fail with.
build/failing_calls.so: tests/c/failing_calls.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -shared -fPIC $< -o $@ -ldl

$(C_TESTS:%=build/%_sanitized) $(C_FUZZERS:%=build/%_sanitized): build/%_sanitized: tests/c/%.c \
  $(C_TEST_HEADERS) csrc/abi/columns.def $(PLAIN:%=build/sanitized/%.o)
	$(CC) $(SANITIZE) $(C_FLAGS) -c $< -o build/sanitized/$*.o
	$(CXX) $(SANITIZE) build/sanitized/$*.o $(filter %.o,$^) -lm -pthread -o $@

# All that the C tests and test-emulated run, for make -j.
test-programs: $(C_TESTS:%=build/%) $(C_FUZZERS:%=build/%) build/test_hpp build/test_recorder build/failing_calls.so build/test_cuda_emulated \
  build/emulated/_native.so $(C_TESTS:%=build/%_sanitized) $(C_FUZZERS:%=build/%_sanitized) \
  build/test_cuda_emulated_sanitized

ctest: $(C_TESTS:%=build/%) $(C_FUZZERS:%=build/%) build/test_hpp build/test_recorder build/test_cuda_emulated
	set -e; for test in $(C_TESTS) test_hpp test_recorder; do build/$$test; done
	build/fuzz_deal 1 5000
	build/fuzz_stream 1 20000
	! nm -D --defined-only build/libdeal.so.1 | grep -v ' T deal_'  # exports the C ABI alone
	build/test_cuda_emulated

ctest-sanitized: $(C_TESTS:%=build/%_sanitized) $(C_FUZZERS:%=build/%_sanitized) build/test_cuda_emulated_sanitized
	set -e; for test in $(C_TESTS); do build/$${test}_sanitized; done
	build/fuzz_deal_sanitized 1 50000
	build/fuzz_stream_sanitized 1 50000
	build/test_cuda_emulated_sanitized

# test_deal counts allocations by a malloc of its own, which this sanitizer cannot run under.
RACES := -g -O1 -fno-omit-frame-pointer -fsanitize=thread

build/threads/%.o: csrc/%.cpp $(HEADERS)
	@mkdir -p $(@D)
	$(CXX) $(LIBRARY_FLAGS) $(RACES) -c $< -o $@

build/test_deal_calls_threads build/test_isa_threads build/fuzz_deal_threads: build/%_threads: tests/c/%.c $(C_TEST_HEADERS) \
  csrc/abi/columns.def $(PLAIN:%=build/threads/%.o)
	$(CC) $(RACES) $(C_FLAGS) -c $< -o build/threads/$*.o
	$(CXX) $(RACES) build/threads/$*.o $(filter %.o,$^) -lm -pthread -o $@

ctest-threads: build/test_deal_calls_threads build/test_isa_threads build/fuzz_deal_threads
	build/test_deal_calls_threads
	build/test_isa_threads
	build/fuzz_deal_threads 1 50000

# ---- AArch64 ------------------------------------------------------------------------------------

ARM := aarch64-linux-gnu
RUN_ARM ?= qemu-aarch64 -L /usr/$(ARM)

build/$(ARM)/%.o: csrc/%.cpp $(HEADERS)
	@mkdir -p $(@D)
	$(ARM)-g++ $(LIBRARY_FLAGS) $(CXXFLAGS) -c $< -o $@

build/$(ARM)/%: tests/c/%.c $(C_TEST_HEADERS) $(PLAIN:%=build/$(ARM)/%.o)
	$(ARM)-gcc -O2 $(C_FLAGS) -c $< -o $@.o
	$(ARM)-g++ $@.o $(filter %.o,$^) -lm -pthread -o $@

.SECONDARY: $(PLAIN:%=build/$(ARM)/%.o)

ctest-neon: $(C_TESTS:%=build/$(ARM)/%)
	$(RUN_ARM) build/$(ARM)/test_deal --no-fork
	$(RUN_ARM) build/$(ARM)/test_deal_calls
	$(RUN_ARM) build/$(ARM)/test_quantised
	$(RUN_ARM) build/$(ARM)/test_scores
	$(RUN_ARM) build/$(ARM)/test_stream
	$(RUN_ARM) build/$(ARM)/test_isa neon

# ---- CUDA ---------------------------------------------------------------------------------------

NVCC ?= nvcc
CUDA := $(call sources,cuda)
NVCC_CODES ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
NVCC_FLAGS := -std=c++17 -O3 -Icsrc --fmad=false --prec-div=true -Werror all-warnings $(NVCC_CODES)

cuda: $(CUDA:%=build/cuda/%.o)

build/cuda/%.o: csrc/%.cu $(HEADERS)
	@mkdir -p $(@D)
	$(NVCC) $(NVCC_FLAGS) -c $< -o $@

# Installs into PYTHON's environment, which has PyTorch. WHEELS: a folder of what that lacks.
OUTPUT ?= bench/results/gpu/gpu.json

gpu:
	@$(PYTHON) -P bench/gpu/machine.py >/dev/null
	$(if $(WHEELS),$(PYTHON) -m pip install --quiet --no-index --no-deps $(WHEELS)/*.whl)
	DEAL_CUDA=1 DEAL_CUDA_ARCHS=$$($(PYTHON) -P bench/gpu/machine.py) $(PYTHON) -m pip install --quiet \
	  --disable-pip-version-check --no-index --no-build-isolation --no-deps --editable .
	$(PYTHON) -m deal.bench gpu --output $(OUTPUT)

# The same sources, run on the CPU thread for thread: as a C test, and as an extension for pytest.
EMULATION_FLAGS := -Wno-unknown-pragmas -Itests/c/emulated
EMULATED := $(CUDA) cuda_runtime streams
BINDING := $(call sources,binding)

define emulated  # folder of the objects, flags
$(1)/%.o: csrc/%.cu $(HEADERS) tests/c/emulated/cuda_runtime.h
	@mkdir -p $$(@D)
	$$(CXX) $$(LIBRARY_FLAGS) $(2) $$(EMULATION_FLAGS) -x c++ -c $$< -o $$@
$(1)/%.o: tests/c/emulated/%.cpp tests/c/emulated/cuda_runtime.h
	@mkdir -p $$(@D)
	$$(CXX) $$(LIBRARY_FLAGS) $(2) $$(EMULATION_FLAGS) -c $$< -o $$@
endef
$(eval $(call emulated,build/emulated,$(CXXFLAGS)))
$(eval $(call emulated,build/emulated/sanitized,$(SANITIZE)))

build/test_cuda_emulated: tests/c/test_cuda_emulated.cpp $(LIBRARY:%=build/c/%.o) $(EMULATED:%=build/emulated/%.o)
	$(CXX) $(LIBRARY_FLAGS) $(CXXFLAGS) $(EMULATION_FLAGS) $^ -o $@

build/test_cuda_emulated_sanitized: tests/c/test_cuda_emulated.cpp $(LIBRARY:%=build/sanitized/%.o) \
  $(EMULATED:%=build/emulated/sanitized/%.o)
	$(CXX) $(LIBRARY_FLAGS) $(SANITIZE) $(EMULATION_FLAGS) $^ -o $@

build/emulated/%.o: csrc/%.cpp $(HEADERS) | $(VENV)/testing
	@mkdir -p $(@D)
	$(CXX) $(LIBRARY_FLAGS) $(CXXFLAGS) $$($(BIN)/python -m pybind11 --includes) -c $< -o $@

# The thin binding takes a compiler longest, and nothing waits for it.
$(filter build/emulated/python/%,$(BINDING:%=build/emulated/%.o)): CXXFLAGS := -O0

build/emulated/_native.so: $(LIBRARY:%=build/c/%.o) $(EMULATED:%=build/emulated/%.o) $(BINDING:%=build/emulated/%.o)
	$(CXX) -shared -pthread $^ -o $@

# ---- bundled model ------------------------------------------------------------------------------

models: $(VENV)/testing
	$(BIN)/deal train --dataset synthetic --scenes 500 --network light --width 0.45 \
	  --crop 144x192 --scale 0.7 1.3 --epochs 14 --batch-size 8 --lr 0.05 --head-lr-factor 1 \
	  --grid 30x40 --class-balance --precision bf16 --validate-every 7 --output runs/demo
	$(BIN)/deal export runs/demo/best.pt -o deal/demo/model.onnx
	$(BIN)/python -c 'from deal.synthetic import write_pool; write_pool("deal/demo/pool", 24)'

clean:
	rm -rf build out/demo
