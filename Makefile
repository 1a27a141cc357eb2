# make demo   builds the program and shows everything once, on made-up recordings
# make test   formatting, lints, all tests
# make install PREFIX=/usr/local   library, headers, pkg-config and CMake files, program
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: all demo test lint kernels size bench bench-train install setup clean

PREFIX ?= /usr/local

# Where rustup puts cargo, for shells that do not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

all: setup
	cargo build --release --locked

demo: setup
	cargo build --release --locked --bin trajgan
	target/release/trajgan demo --out demo

test: lint kernels
	cargo test --locked

# CUDA kernels without a GPU: on the CPU, and their PTX against its sources. Side by side, because either leaves a core idle.
kernels:
	scripts/ptx --check & ptx=$$!; tests/emu/run || { wait $$ptx; exit 1; }; wait $$ptx

# The library alone must not need what only the program has.
lint: setup
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --lib --no-default-features -- -D warnings

# Bytes of the library alone, stripped, as it is shipped. Not part of `test`: it takes minutes to build.
# Without the rlib and the archive, for which everything public would stay in it. Only what asks for it, as
# kernels do, is inlined freely.
SIZE_LIMIT := 2000000
size: setup
	cargo rustc --profile dist --locked --no-default-features --features cuda --lib --crate-type cdylib -- -C llvm-args=-inline-threshold=25
	strip -o target/dist/stripped.so target/dist/libtrajgan.so
	@bytes=$$(stat -c %s target/dist/stripped.so); echo "$$bytes bytes, at most $(SIZE_LIMIT)"; test $$bytes -le $(SIZE_LIMIT)

# Rates and latencies; with the peer if TRAJGAN_PEER names its script.
bench: setup
	cargo bench --locked --bench rates

# Losses against those that PyTorch reached on the same data; needs ../shared and some minutes.
bench-train: setup
	cargo bench --locked --bench train_curve

install: all
	scripts/install "$(PREFIX)"

setup:
	@scripts/setup

clean:
	cargo clean
	rm -rf demo
