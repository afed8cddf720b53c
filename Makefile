# Needs Python 3.11 to 3.14; `make help` lists the targets.

VENV ?= .venv
ARGS ?=
# The newest Python that runs; a name on the PATH may exist and still fail.
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 \
    $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.1[1-4]*/bin/python; do \
    v=$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1) && \
    echo "$$v $$p"; done 2>/dev/null | grep '^3\.1[1-4] ' | sort -rs -k1,1 | \
    head -n 1 | cut -d' ' -f2)
# setuptools warns of what an editable installation does on purpose. Python
# compiles what is imported, which is a third of the files.
INSTALL = PYTHONWARNINGS='ignore:Editable installation' \
    $(VENV)/bin/python -m pip install --quiet --no-compile \
    --constraint constraints.txt

.PHONY: help setup train test format cuda-program
help:  ## Lists the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16
	@echo 'Variables: PYTHON (makes the environment), VENV, ARGS.'

setup: $(VENV)/setup.stamp  ## Makes the environment in VENV, by default .venv.
	@echo 'Ready. Next: make train, or . $(VENV)/bin/activate and unet-jax --help'

train: $(VENV)/setup.stamp  ## Trains configs/multiclass.py; passes ARGS on.
	$(VENV)/bin/python -m unet_jax.main --config configs/multiclass.py $(ARGS)

test: $(VENV)/test.stamp  ## Runs the tests; passes ARGS on to pytest.
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile \
	    --no-loadscope-reorder --durations 10 $(ARGS)

format: $(VENV)/test.stamp  ## Formats and checks the code, and its types.
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/mypy

cuda-program: .venv-cuda/stamp  ## Lists the kernels of a step for an H100.
	@.venv-cuda/bin/python benchmarks/cuda_program.py $(ARGS)

# cuDNN is pinned: it and XLA must agree on how to describe an absent GPU.
.venv-cuda/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install --quiet --constraint constraints.txt \
	    --editable '.[cuda12]' nvidia-cudnn-cu12==9.23.2.1
	@touch $@

$(VENV)/setup.stamp: pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'no Python 3.11 to 3.14 found: install' \
	    'one, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'Installing into $(VENV) with $(PYTHON): 1.2 GB, 1 to 5 minutes.'
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade pip
	@$(INSTALL) --editable '.[native]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/setup.stamp
	$(INSTALL) --editable '.[native,test]'
	@touch $@
