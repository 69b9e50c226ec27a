# Everything runs from .venv, which `make setup` builds; Python >= 3.11 and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE_BIN := .venv-serve/bin
BENCH_BIN := .venv-bench/bin
DEMO := var/demo

# On every core; the tests of a file on one, for they share what took long to make. A core that crashes ends the run and
# names its test: replaced, it can be waited for without end (pytest-dev/pytest-xdist#1378).
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: help setup demo test test-all conformance proto lint bench-simulator bench-features bench-physics bench-accuracy bench-known-ahead bench-robustness bench-exceedance bench-zero-shot bench-drift bench-gate bench-retrain bench-warm-start bench-serve bench-engine bench-engine-memory bench-poll soak survival pretrain examples clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

setup: $(VENV)/.done  ## Install everything into .venv

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,test,mlflow,grpc,mqtt,nats,kafka]'
	touch $@

# A second environment with the base install only: what a serving machine has.
.venv-serve/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-serve
	$(SERVE_BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# A scheduler's own environment, which the example for it is loaded in: what it brings is its business.
.venv-dagster/.done: constraints.txt
	$(PYTHON) -m venv .venv-dagster
	.venv-dagster/bin/python -m pip install --quiet --constraint constraints.txt dagster
	touch $@

# The peer that the protocol's tests run against too: KServe asks for older versions than ours of what both bring.
.venv-kserve/.done: tests/serve/kserve.txt
	$(PYTHON) -m venv .venv-kserve
	.venv-kserve/bin/python -m pip install --quiet --requirement tests/serve/kserve.txt
	touch $@

# What the server's speed is held against, besides KServe: MLServer asks for older versions yet.
.venv-mlserver/.done: tests/serve/mlserver.txt
	$(PYTHON) -m venv .venv-mlserver
	.venv-mlserver/bin/python -m pip install --quiet --requirement tests/serve/mlserver.txt
	touch $@

# Nothing new, or nothing better than an earlier demo's: that one serves on.
MADE_OR_NOT_NEEDED = || case $$? in 10 | 11) ;; *) exit 1 ;; esac

# The weights that ship are tested on the same weeks as those that are trained: compare what the two runs say in the end.
demo: setup  ## Simulate a fleet, forecast untrained, train, publish, and forecast a week that training never saw
	$(BIN)/python train.py experiment=pretrained evaluation.test_h=168 evaluation.validation_h=168 $(MADE_OR_NOT_NEEDED)
	$(BIN)/python train.py $(MADE_OR_NOT_NEEDED)
	$(BIN)/python -m serve forecast --bundle var/registry/day-ahead/current --telemetry var/fleet/telemetry --out $(DEMO)/forecasts.parquet

test: setup .venv-serve/.done .venv-dagster/.done .venv-kserve/.done lint  ## Tests, lint, types and import rules
	$(PYTEST) -m "not slow"

test-all: setup .venv-serve/.done .venv-dagster/.done .venv-kserve/.done lint  ## The slow tests too
	$(PYTEST)

conformance: setup .venv-kserve/.done  ## What the Open Inference Protocol asks, of our server and of KServe's: a table
	PYTHONPATH=.:tests:tests/serve $(BIN)/python -m pytest -p conformance tests/serve/test_open_inference.py tests/serve/test_open_inference_grpc.py

proto: setup  ## Make the descriptors of the gRPC messages anew
	$(BIN)/python -m grpc_tools.protoc --proto_path=serve/grpc --descriptor_set_out=serve/grpc/open_inference.binpb open_inference.proto

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-simulator: setup  ## Speed and memory of the simulator
	$(BIN)/python -m benchmarks.simulator

bench-features: setup  ## Speed and memory from raw telemetry to a tensor
	$(BIN)/python -m benchmarks.features

bench-physics: setup  ## Time constants learnt from simulated servers, beside the true ones
	$(BIN)/python -m benchmarks.physics

# A third environment: the peers bring much that nothing else needs.
.venv-bench/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	$(BENCH_BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,bench]'
	touch $@

bench-accuracy: .venv-bench/.done  ## Accuracy beside peers, on measured data; hours without its cache
	$(BENCH_BIN)/python -m benchmarks.accuracy
	$(BENCH_BIN)/python -m benchmarks.accuracy.cost

bench-known-ahead: .venv-bench/.done  ## What the job schedule is worth, on simulated fleets; half an hour on one core
	$(BENCH_BIN)/python -m benchmarks.accuracy.simulated

bench-robustness: setup  ## What gaps, dead sensors and new entities cost
	$(BIN)/python -m benchmarks.robustness

bench-exceedance: setup  ## Whether the probability of passing a limit is kept
	$(BIN)/python -m benchmarks.exceedance

bench-zero-shot: setup  ## Sites never seen, beside peers trained on them
	$(BIN)/python -m benchmarks.zero_shot

bench-gate: setup  ## How often the gate promotes what is truly worse, equal and better
	$(BIN)/python -m benchmarks.gate

bench-drift: setup  ## How often drift is seen where nothing happened, and how soon where something did
	$(BIN)/python -m benchmarks.drift

soak: setup  ## A season of operation in minutes: a daily run on a site whose world changes
	$(BIN)/python -m benchmarks.soak

survival: setup  ## Every fault at every place of a retraining run; most of an hour on two cores
	PYTHONPATH=.:tests $(BIN)/python tests/survival/survey.py

bench-retrain: setup  ## The scheduled job on 1,000 servers: with nothing new, and with one new day
	$(BIN)/python -m benchmarks.retrain

bench-warm-start: setup  ## Daily retraining anew, and from the version in service; an hour on one core
	$(BIN)/python -m benchmarks.warm_start

bench-serve: setup  ## Latency of reads and inference beside the runtime in process, KServe and MLServer, and overload
	-$(MAKE) --keep-going .venv-kserve/.done .venv-mlserver/.done
	$(BIN)/python -m benchmarks.serve

bench-engine: setup  ## 10,000 entities every minute on two cores, reads meanwhile, and 100 candidates for a job at once
	$(BIN)/python -m benchmarks.engine

bench-engine-memory: setup  ## Whether the engine's memory stays the same over hours of operation; a quarter of an hour
	$(BIN)/python -m benchmarks.engine_memory

bench-poll: setup  ## What a look at a source costs, beside a long history of files
	$(BIN)/python -m benchmarks.poll

pretrain: setup  ## Make the weights that ship with the package anew
	$(BIN)/python -m forecast.retrain.pretrain

examples:  ## Build the programs of examples/ in other languages, as far as their tools are here
	bash examples/build.sh

clean:  ## Remove environments and everything made
	rm -rf $(VENV) .venv-serve .venv-bench .venv-dagster .venv-kserve .venv-mlserver .examples examples/node/node_modules var
