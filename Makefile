# A thin front on CMake: make demo | test | bench | docs | install | clean. BUILD= names another build folder, CMAKE_ARGS= adds options.
BUILD ?= build
PREFIX ?= /usr/local
DEMO_ARGS ?=
JOBS := $(shell nproc 2> /dev/null || echo 2)

PACKAGES := build-essential cmake pkg-config libdnnl-dev zlib1g-dev libpng-dev libjpeg-dev libzip-dev libcjson-dev libcmocka-dev gnuplot-nox
MISSING = $(shell command -v dpkg-query > /dev/null && for p in $(PACKAGES); do \
    dpkg-query -W -f '$${Status}' $$p 2> /dev/null | grep -q 'ok installed' || echo $$p; done)

all: build

# On Debian the missing packages are installed where we may; elsewhere, or without them, the build uses what it finds.
packages:
	@missing="$(MISSING)"; [ -z "$$missing" ] || { \
	    sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	    echo "installing $$missing"; \
	    { $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -qq -y --no-install-recommends $$missing > /dev/null; } || \
	    echo "not installed: $$missing (building with what is here)"; }

configure:
	@cmake -S . -B $(BUILD) $(CMAKE_ARGS)

build: configure
	@cmake --build $(BUILD) -j $(JOBS)

demo: packages configure
	@cmake --build $(BUILD) -j $(JOBS) --target example_mnist
	@$(BUILD)/examples/mnist --epochs 4 --plot $(BUILD)/mnist.png $(DEMO_ARGS)

test: packages build
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

bench: build
	@sh bench/run.sh $(BUILD)/bench
	@sh bench/llama.sh $(BUILD)/bench
	@for shape in 15M 110M; do for threads in 1 2; do $(BUILD)/bench/packed $$shape $$threads; done; done

docs: configure
	@cmake --build $(BUILD) --target docs

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	@rm -rf $(BUILD)

.PHONY: all packages configure build demo test bench docs install clean
