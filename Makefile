# The usual commands. CMakeLists.txt does the work; this file names it.

PREFIX ?= /usr/local
BUILD := build
PYTHON := $(BUILD)/venv/bin/python

# Which Python the extension module of bindings/python/native is built with: build/venv, or the one in PATH.
PYTHON3 ?=

# Of the programs for measuring: BENCH_ARGS="--quick", or what benchmarks/run.py --help and benchmarks/c/bench.c tell.
BENCH_ARGS ?=

# Of the fuzzer: FUZZ_ARGS="--seconds 3600 --seed 1000000".
FUZZ_ARGS ?=

.PHONY: bench bench-c bench-footprint bench-programs demo build test swift-test c-test python-test valgrind install dependencies clean fuzz help

build: ## build/librnn.so: optimised, needs no Swift where it runs
	@command -v cmake >/dev/null || { echo "cmake is missing: run scripts/install-dependencies" >&2; exit 1; }
	cmake -S . -B $(BUILD) $(if $(PYTHON3),-DPython3_EXECUTABLE=$(PYTHON3))
	cmake --build $(BUILD) --target library python-native

test: ## everything: installs what the tests need (apt, pip), then Swift, C and Python tests
	@$(MAKE) --no-print-directory dependencies
	@$(MAKE) --no-print-directory swift-test
	@$(MAKE) --no-print-directory c-test
	@$(MAKE) --no-print-directory python-test

demo: dependencies build ## trains a language model on real text, shows it, and continues it from C; TEXT=book.txt for your own text
	@echo "== what the demo needs"
	build/venv/bin/python -m pip install --quiet --requirement examples/demo/requirements.txt
	@echo "== training, from Python"
	PYTHONPATH=bindings/python/src build/venv/bin/python examples/demo/demo.py $(if $(TEXT),--text "$(TEXT)")
	@echo "== the same model, from C"
	$(CC) -std=c99 -Wall -Wextra -O2 -Iinclude examples/demo/continue.c -Lbuild -lrnn -Wl,-rpath,$(CURDIR)/build -o build/continue
	build/continue demo-output/model.safetensors "The "

dependencies: ## what tests need and is missing: apt packages, and Python packages in build/venv
	@echo "== dependencies"
	scripts/install-dependencies

swift-test: ## the Swift tests, in a debug build
	@echo "== Swift tests"
	@scripts/drop-stale-kernels .build/debug
	swift test --disable-swift-testing

c-test: ## the C programs of bindings/c, alone and under valgrind; the header; an installed tree
	@echo "== C tests"
	cmake -S . -B $(BUILD) -DBUILD_TESTING=ON
	cmake --build $(BUILD)
	ctest --test-dir $(BUILD) --output-on-failure --no-tests=error

python-test: build ## the Python tests, and the header-driven tests of every C function
	@echo "== Python tests"
	LIBRNN_LIBRARY=$(CURDIR)/$(BUILD)/librnn.so PYTHONPATH=bindings/python/src $(PYTHON) -m pytest

fuzz: build ## damages ONNX files at random, reads and runs them; FUZZ_ARGS="--seconds 3600 --seed 1000000 --compare"
	LIBRNN_LIBRARY=$(CURDIR)/$(BUILD)/librnn.so PYTHONPATH=bindings/python/src $(PYTHON) bindings/python/tests/onnxfuzz.py $(FUZZ_ARGS)

valgrind: ## only the C programs under valgrind
	cmake -S . -B $(BUILD) -DBUILD_TESTING=ON
	cmake --build $(BUILD)
	ctest --test-dir $(BUILD) --output-on-failure --no-tests=error --label-regex valgrind

bench-programs: build
	cmake --build $(BUILD) --target bench-programs

bench: bench-programs ## librnn against its peers, which are installed into build/bench-venv; BENCH_ARGS="--quick", "--help", …
	python3 benchmarks/run.py $(BENCH_ARGS)

bench-c: bench-programs ## librnn from C, against the limits of the machine; BENCH_ARGS="--threads 2 --seconds 0.5"
	$(BUILD)/bench/rnn-bench $(BENCH_ARGS)

bench-footprint: bench-programs ## only load time, memory, size, and what a call from Python costs over one from C; needs NumPy
	$(if $(wildcard $(PYTHON)),$(PYTHON),python3) benchmarks/run.py --only-footprint $(BENCH_ARGS)

install: build ## header, library, pkg-config file and CMake package below PREFIX (default /usr/local)
	cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## removes everything that was built
	rm -rf $(BUILD) .build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
