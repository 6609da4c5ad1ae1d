# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv and installs what it lacks, once.
PYTHON ?= python3
# Another Python than the default has an environment of its own: make test PYTHON=python3.13 never takes the wrong one.
VENV := .venv$(if $(filter python3,$(PYTHON)),,-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
PY := $(VENV)/bin/python
METADATA := setup.cfg setup.py pyproject.toml

BEAM_VENV := .venv-beam
STORAGE_VENV := .venv-storage
JAX_VENV := $(VENV)-jax

.PHONY: setup demo test test-slow test-jax test-beam test-storage test-images lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       sample photos -> shards -> three stages -> submission.csv, in minutes on a laptop"
	@echo "make test       lint, types and tests      make test-slow  the long proofs, those of test-storage too"
	@echo "make test-jax   the device side on JAX without TensorFlow, in an environment of its own"
	@echo "make test-beam  the converter on Apache Beam, in an environment of its own"
	@echo "make test-storage  object stores against test servers, in an environment of its own"
	@echo "make test-images  the environments of Kaggle and Colab, rebuilt: nothing of theirs moves, demo, notebooks and tests pass"
	@echo "make bench      the benchmarks, small      make clean      removes .venv and demo/"

# `python -c` refuses an old Python with a sentence before pip's own, longer answer.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 14) else f"carclf needs Python 3.11 to 3.13, and {sys.executable} is {sys.version.split()[0]}: run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(METADATA) | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[cpu,demo]'
	@touch $@

$(VENV)/.dev: $(METADATA) | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[cpu,jax,demo,export,openvino,parquet,serve,tune,bench,dev]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps 'keras-hub>=0.32' regex tokenizers
	@touch $@ $(VENV)/.demo

setup: $(VENV)/.dev

demo: $(VENV)/.demo
	$(PY) benchmarks/demo.py --output=demo

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The device side is tested a second time on JAX with TensorFlow made unimportable (tests/conftest.py); on a CPU JAX
# compiles everything, so what takes it minutes is left to test-slow.
JAX_LANE := -m pytest --numprocesses=2 --dist=loadfile tests/model tests/recipe tests/oracle tests/training/test_lr_finder.py
WITHOUT_TENSORFLOW := KERAS_BACKEND=jax CARCLF_TEST_WITHOUT_TENSORFLOW=1
# Most programs run once, so optimising them takes longer than it saves; test-slow runs them optimised.
UNOPTIMISED := XLA_FLAGS='--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
LONG_ON_JAX := --ignore=tests/model/test_whole_photo.py --ignore=tests/model/test_classifier.py --ignore=tests/model/test_backbones.py --ignore=tests/model/test_weight_average.py --ignore=tests/model/test_hub.py \
	--deselect=tests/model/test_render.py::test_no_photo_depends_on_its_batch

# Two processes: most tests wait for one core.
test: lint
	$(PY) -m pytest --numprocesses=2 --dist=loadfile
	$(WITHOUT_TENSORFLOW) $(UNOPTIMISED) $(PY) $(JAX_LANE) $(LONG_ON_JAX)

test-slow: $(VENV)/.dev test-storage
	$(PY) -m pytest --numprocesses=2 --dist=loadfile -m slow
	$(WITHOUT_TENSORFLOW) $(PY) $(JAX_LANE)

# The same lane where TensorFlow really is not installed: on the newest Python, with the newest JAX that it can have.
$(JAX_VENV)/.done: $(METADATA)
	$(PYTHON) -m venv $(JAX_VENV)
	$(JAX_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[jax]' 'hypothesis>=6.100' 'pytest>=8.2' 'pytest-xdist>=3.6' 'scikit-learn>=1.4'
	@touch $@

test-jax: $(JAX_VENV)/.done
	$(WITHOUT_TENSORFLOW) $(UNOPTIMISED) $(JAX_VENV)/bin/python $(JAX_LANE) $(LONG_ON_JAX)

# Apache Beam pins versions of pillow and protobuf that TensorFlow's environment is past; the converter needs no TensorFlow.
$(BEAM_VENV)/.done: $(METADATA)
	$(PYTHON) -m venv $(BEAM_VENV)
	$(BEAM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[beam]' 'hypothesis>=6.100' 'pytest>=8.2'
	@touch $@

test-beam: $(BEAM_VENV)/.done
	$(BEAM_VENV)/bin/python -m pytest -m "slow or not slow" tests/convert/test_beam.py

# botocore, under s3fs, holds python-dateutil below the version of the other environments. Azure's test server is no Python
# package: with `npm install azurite` and node_modules/.bin on the path its tests run, too.
$(STORAGE_VENV)/.done: $(METADATA)
	$(PYTHON) -m venv $(STORAGE_VENV)
	$(STORAGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,s3,gcs,azure,hf,tune]' 'aiobotocore[boto3]' 'gcp-storage-emulator>=2026.7' 'flask>=3.0' 'flask-cors>=4.0' 'hypothesis>=6.100' 'moto[s3]>=5.0' 'pytest>=8.2'
	@touch $@

test-storage: $(STORAGE_VENV)/.done
	$(STORAGE_VENV)/bin/python -m pytest -m "slow or not slow" tests/storage

# The environments of Kaggle and Colab, from their published lists of packages.
test-images:
	$(PYTHON) tests/images/rebuild.py

bench: $(VENV)/.dev
	$(PY) benchmarks/run_all.py

clean:
	rm -rf .venv .venv-* demo
