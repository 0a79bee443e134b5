# make quickstart   a fresh machine: install, search, report
# make test         a fresh machine: install, then linters, types and all tests
# make check        linters and types only
# make fast         the fast tests only
# make guards       what guards a promise and costs more than CI has, about five minutes; run it before a release
# make coverage     the share of lines that all tests run, at least 95 % of the package; run it before a release
# make families     every family of models against one contract, about ten minutes
# make transformers-next   the same and the trainer's tests under the transformers that comes next
# make lab          the embedded task's numbers
# make quality      the embedded task's score in float32 and bfloat16, alone and packed
# make importance   what the report names as important, on recorded runs
# make replay       how good the config is that a search names, on recorded runs; two to three minutes
# make benchmark    seconds per update beside TRL's, which gets an environment of its own
# make headline     how long a search takes to a good config, beside TRL in an Optuna loop; hours, goes on where it was
# make controller   what share of a search's time is not training
# make example      the quickstart's report as the repository keeps it, in reports/example
# make peers        our exports run by the released trainers' own code, each in an environment of its own; also
#                   peer-verl, peer-openrlhf, peer-skyrl, peer-trl
# make docs         the documentation, warnings as errors, in docs/_build/html
# make figures      what the repository measures: folders, files, functions, imports, lines
# make gpu          decoding, learning and packs on the first GPU; torch must be a build for it

PYTHON ?= python3
BIN := .venv/bin

NEXT := 5.24.0

.PHONY: quickstart test check fast coverage guards families transformers-next lab quality replay importance benchmark headline controller example docs figures gpu clean
.PHONY: peers peer-verl peer-openrlhf peer-skyrl peer-trl

quickstart: .venv/user
	$(BIN)/ppo-tune search search_spaces/quickstart.yaml

test: .venv/dev check
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/ppo
	$(BIN)/python -m pytest -n 2 tests/ppo --cov ppo_tune/ppo --cov-fail-under 100

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fast: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not browser and not families and not guard"

guards families: .venv/dev
	$(BIN)/python -m tests.record $@

# CI has one transformers, of constraints.txt; this is to be run before another one goes there.
transformers-next: .venv-next/done
	.venv-next/bin/python -m pytest -n 2 --dist worksteal -m "not browser" \
	  tests/models tests/equivalence tests/rewards tests/trainer

# Counting lines makes all tests half as slow again, more than CI has time for.
coverage: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov

lab: .venv/user
	$(BIN)/python benchmarks/lab.py

quality: .venv/user
	$(BIN)/python benchmarks/quality.py

replay: .venv/dev
	$(BIN)/python benchmarks/replay.py --quick

importance: .venv/dev
	$(BIN)/python benchmarks/importance.py

benchmark: .venv/user .venv-trl/done
	$(BIN)/python benchmarks/throughput.py

headline: .venv/dev .venv-trl/done
	$(BIN)/python benchmarks/headline.py

controller: .venv/dev
	$(BIN)/python benchmarks/controller.py

# The page itself stays out: it is 5 MB, and anybody makes it with the same words.
example: .venv/dev
	$(BIN)/ppo-tune search search_spaces/quickstart.yaml
	$(BIN)/ppo-tune report quickstart --markdown --png
	rm -rf reports/example
	mkdir reports/example
	cd reports/quickstart && cp -r summary.md best.yaml trials.csv figures ../example

docs: .venv/docs
	rm -rf docs/reference docs/_build
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

figures: .venv/user
	$(BIN)/python benchmarks/house.py .

gpu: .venv/user
	$(BIN)/python benchmarks/gpu.py

peers: peer-verl peer-openrlhf peer-skyrl peer-trl

# The exports are made in our environment and run in the trainer's, which knows nothing of ppo-tune.
peer-verl peer-openrlhf peer-skyrl peer-trl: peer-%: .venv/dev .venv-%/done
	rm -rf .venv-$*/exports
	$(BIN)/python -m tests.export.peers.make .venv-$*/exports
	PPO_TUNE_EXPORTS=.venv-$*/exports .venv-$*/bin/python -m pytest -o filterwarnings= -p no:cacheprovider \
		--confcutdir=tests/export/peers tests/export/peers/test_$*.py

.venv-trl/done: constraints.txt
	$(PYTHON) -m venv .venv-trl
	.venv-trl/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	.venv-trl/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt trl==1.12.0 datasets \
		peft pytest pytest-timeout
	@touch $@

# What the tested modules import: no vLLM, flash-attn or deepspeed, which want a GPU. The versions of transformers
# are those that each trainer allows.
PEER = $(PYTHON) -m venv .venv-$(1) && \
	.venv-$(1)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch && \
	.venv-$(1)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 pytest pytest-timeout $(2)

.venv-verl/done: constraints.txt
	$(call PEER,verl,verl==0.9.1 transformers==5.9.0 TransferQueue==0.1.11 fastapi uvicorn cachetools pyzmq msgspec)
	@touch $@

.venv-openrlhf/done: constraints.txt
	$(call PEER,openrlhf,"ray[default]==2.55.0" transformers==5.15.0 accelerate aiohttp datasets einops jsonlines peft \
		pylatexenc torchdata torchmetrics tqdm loralib optree tensorboard)
	.venv-openrlhf/bin/pip install --quiet --disable-pip-version-check --no-deps openrlhf==0.11.2
	@touch $@

.venv-skyrl/done: constraints.txt
	$(call PEER,skyrl,skyrl==0.3.0 skyrl-gym==0.4.0 ray==2.56.0 loguru tqdm func_timeout hydra-core omegaconf torchdata \
		tensordict jaxtyping fastapi uvicorn polars accelerate s3fs)
	@touch $@

.venv-next/done: constraints.txt
	$(PYTHON) -m venv .venv-next
	grep -v '^transformers==' constraints.txt > .venv-next/constraints.txt
	.venv-next/bin/pip install --quiet --disable-pip-version-check --constraint .venv-next/constraints.txt torch
	.venv-next/bin/pip install --quiet --disable-pip-version-check --constraint .venv-next/constraints.txt \
	  --editable '.[dev]' transformers==$(NEXT)
	@touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

# torch first and pinned: asked for by another package it would bring gigabytes of CUDA.
.venv/user: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[metrics]'
	@touch $@

.venv/dev: .venv/user
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/docs: .venv/user
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

clean:
	rm -rf docs/reference docs/_build .venv .venv-next .venv-trl .venv-verl .venv-openrlhf .venv-skyrl .mypy_cache .pytest_cache .ruff_cache .hypothesis
