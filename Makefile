# Each target sets up what it needs. PYTHON picks the interpreter: 3.11, 3.12 or 3.13.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin

.PHONY: reproduce picture test test-newest test-long smoke chaos chaos-distributed chaos-store check-ledger damage fuzz endurance \
	compile-tpu compile-cuda lint docs docs-check figures bench bench-data on-device device-bundle slurm setup clean image-cpu image-cuda image-tpu images-check \
	image-pins test-pins audit

# Trains, measures, judges and reports one experiment at the paper's own size, with five seeds, which are enough where all
# hold; and names longer ones. Their minutes are those of the records: tests/test_readme.py compares them.
reproduce: setup
	$(RUN)/jaxgen reproduce xor-benign/grokking --scale paper --seeds 5
	@echo "More, with the minutes that training took when it was recorded (all: docs/gallery.md, jaxgen list):"
	@echo "  $(RUN)/jaxgen reproduce simplicity-bias/noisy --scale paper           3 minutes"
	@echo "  $(RUN)/jaxgen reproduce corrupted-modadd/transformer --scale paper   11 minutes"
	@echo "  $(RUN)/jaxgen reproduce grokfast --scale mini                        15 minutes"

# Draws docs/report.png: the page that `make reproduce` writes. Needs chromium.
picture: reproduce
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,900 --screenshot=docs/report.png \
		"file://$(CURDIR)/runs/xor-benign/grokking/paper/report.html"

# The tests. About 15 minutes on two cores.
test: setup
	$(RUN)/python -m pytest -n 3 --dist worksteal

# The same, and lint, on the newest Python and jax: make test-newest PYTHON=python3.13
test-newest:
	$(MAKE) lint test VENV=.venv-newest

# The tests that take longest, most of them of whole runs. About 20 minutes.
test-long: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/pins.txt --editable ".[search]"
	$(RUN)/python -m pytest -n 3 --dist worksteal -m long

# All papers held to their whole contract, with a smoke run of every experiment; make test has a sample of them, and one
# smoke run. About 7 minutes.
smoke: setup
	$(RUN)/python -m pytest -n 2 -m "smoke or not smoke" tests/test_experiments.py

# Three hundred damages to runs (bits, swaps, edits, links): each is refused in one line, or makes no difference.
# SEED=1 draws others. About 20 minutes.
damage: setup
	$(RUN)/python -m tests.damage --seed $(or $(SEED),0)

# A hundred random kills of runs of three kinds; what comes back is compared bit for bit. About 20 minutes.
chaos: setup
	$(RUN)/python -m tests.chaos

# The same of runs of two and four processes on this machine: one of them is killed. About 30 minutes.
chaos-distributed: setup
	$(RUN)/python -m tests.chaos --kills 30 --steps 1000 --processes 2 --processes 4
	$(RUN)/python -m tests.topologies

# The same of runs in emulated object stores. About 30 minutes.
chaos-store: setup
	$(RUN)/python -m tests.chaos --kills 36 --steps 1000 --processes 1 --processes 2 --store s3 --store gs

# Judges every recorded table again, and trains a random tenth of the cheapest settled claims with fresh seeds.
check-ledger: setup
	$(RUN)/python -m tests.check_ledger

# Five hundred commands with random settings, names, paths, options and variables of the environment: each does what it
# says or refuses it in a line, and leaves nothing behind. About 13 minutes.
fuzz: setup
	$(RUN)/python -m tests.fuzz

# Jobs on a SLURM cluster of this host, requeued, killed, drained, cancelled. As root; installs SLURM by apt. 12 minutes.
slurm: setup
	$(RUN)/python -m tests.slurm

# How fast a run ends on a signal, what saving costs, and memory over a million steps. About 15 minutes.
endurance: setup
	$(RUN)/python -m benchmarks.preemption
	$(RUN)/python -m benchmarks.saving
	$(RUN)/python -m benchmarks.million_steps

# Train steps and kernels compiled for TPUs that are not here. Downloads libtpu, 200 MB; then about 4 minutes.
compile-tpu:
	$(MAKE) setup VENV=.venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,tpu]"
	.venv-tpu/bin/python -m pytest -n 2 tests/test_plan.py tests/test_attention.py -k "not kernel or compile"

# The same for GPUs. Downloads the CUDA libraries, 4.4 GB installed; then about 2 minutes.
compile-cuda:
	$(MAKE) setup VENV=.venv-cuda
	.venv-cuda/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,cuda13]"
	.venv-cuda/bin/python -m pytest -n 2 tests/test_plan.py tests/test_attention.py -k "not kernel or compile"

# Lint, format and types. About 2 minutes.
lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

# The site, in site/: guides, glossary, Python, tasks, and a page a paper from its records. Any static host serves it. A
# link that leads nowhere fails it. About a minute.
docs: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	$(RUN)/python -m docs.site

# The same elsewhere, opened in a headless Chromium: the verdicts that it shows are the recorded ones.
docs-check: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	$(RUN)/python -m pytest -m long tests/test_site.py

# Draws every recorded figure from its table, and writes docs/gallery.md and the indexes that `jaxgen list` reads. After
# figures, matplotlib or the version changed; after a notebook did, `jaxgen gallery docs/gallery.md` is enough. 2 minutes.
figures: setup
	$(RUN)/jaxgen gallery docs/gallery.md --ledger README.md --redraw

# Side by side with a plain PyTorch script; installs the CPU build of torch. About 5 minutes.
bench: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(RUN)/python -m benchmarks.nanda_step

# Examples a second of the tasks that the host makes, beside a PyTorch DataLoader; decoding beside a plain loop.
# Installs the CPU build of torch. About 10 minutes.
bench-data: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(RUN)/python -m benchmarks.data
	$(RUN)/python -m benchmarks.decoding

# The first minutes on a GPU: kernels against float64, rates, populations, resume, block sizes. About eight minutes.
on-device: setup
	$(RUN)/python -m benchmarks.on_device --out benchmarks/results/$(or $(NAME),device).jsonl

# Wheels in device-bundle/, 6 MiB, for a GPU machine without a network whose Python 3.12 has jax, flax, optax and orbax:
# jaxgen's own, and what else is missing there. On it: python3 -m pip install --no-index --no-deps --target /tmp/site
# device-bundle/*.whl, then PYTHONPATH=/tmp/site python3 -m benchmarks.on_device --out FILE in the clone.
device-bundle: setup
	$(RUN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		$(foreach tag,2_28 2_27 2_17,--platform manylinux_$(tag)_x86_64) --platform manylinux2014_x86_64 \
		--dest device-bundle grain array-record tensorboardX portpicker importlib_resources
	$(RUN)/python -m pip wheel --quiet --no-deps --wheel-dir device-bundle .

# Images, by docker, podman or buildah (ENGINE=..., BASE=..., BUILD_FLAGS=...; docs/images.md).
image-cpu image-cuda image-tpu: image-%:
	docker/build.sh $* $(BUILD_FLAGS)

# Builds the CPU image and runs a smoke experiment in it. About 4 minutes.
images-check:
	docker/check.sh $(BUILD_FLAGS)

# Renews the exact versions that the tests run with: the newest that pyproject.toml allows on each supported Python.
test-pins: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(RUN)/python -m uv pip compile --no-config --quiet --upgrade --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make test-pins" --extra dev pyproject.toml --output-file tests/pins.txt

# Renews the exact versions that images have: the newest that pyproject.toml allows, for Python 3.12.
image-pins: setup
	$(RUN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	docker/pins.sh $(RUN)/python

# Known vulnerabilities of the exact versions that images have; one that cannot be looked up fails it, too. Asks PyPI's
# JSON API; another service: make audit AUDIT_FLAGS="--vulnerability-service osv". With each release; about 1 minute.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.10,<3"
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off $(AUDIT_FLAGS) \
		$(foreach file,$(wildcard docker/*.txt),--requirement $(file)) \
		|| { echo "audit: not all versions in docker/*.txt are known to be sound: what is above is vulnerable (make image-pins" \
		"renews them), or its advisories could not be asked for here" >&2; exit 1; }

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tests/pins.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "jaxgen needs Python 3.11 or newer, this is " + sys.version + "; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/pins.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-newest .venv-tpu .venv-cuda .venv-audit build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
