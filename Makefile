# Needs Python 3.11 or later; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# What is checked for retired words (.codespell/).
SPELLED := ar_sync_pipeline benchmarks ar_sync_pipeline_tests deploy docs README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md \
  dagster.yaml dagster.postgres.yaml workspace.yaml sender.env.example receiver.env.example

.PHONY: demo demo-ui test test-all soak bench screenshots lint format clean

demo: $(READY)  ## two servers in one folder, proved equal
	$(VENV)/bin/ar-sync demo

demo-ui: $(READY)  ## the same with live traffic and the Dagster UI, until Ctrl-C
	$(VENV)/bin/ar-sync demo --ui

test: $(READY)  ## every part: eight minutes on two cores
	$(VENV)/bin/python -m pytest

test-all: $(READY)  ## the long scenarios too: forty minutes
	$(VENV)/bin/python -m pytest -m ""

soak: $(READY)  ## for a night: 500 random histories and hostile archives, three days, every kill, every situation as every role, filled either way
	AR_SYNC_HISTORIES=500 AR_SYNC_DAYS=3 AR_SYNC_EVERY_MODE=1 AR_SYNC_DEAD_MINUTES=60 AR_SYNC_OUTAGE_MINUTES=15 \
	$(VENV)/bin/python -m pytest -m "" --timeout=7200 ar_sync_pipeline_tests/convergence \
	  ar_sync_pipeline_tests/situations ar_sync_pipeline_tests/real_schemas \
	  ar_sync_pipeline_tests/sync/load/test_hostile_archives.py \
	  ar_sync_pipeline_tests/sync/load/test_verified_is_loaded.py ar_sync_pipeline_tests/end_to_end/test_live_pairs.py

bench: $(READY)  ## the figures of docs/benchmarks.md, short, as markdown
	$(VENV)/bin/python -m benchmarks.load --scale 0.1 --repeat 3 --changes recent --markdown
	$(VENV)/bin/python -m benchmarks.completes --scale 0.05 --pictures 1000 --markdown
	$(VENV)/bin/python -m benchmarks.pictures --files 200 20000 --markdown
	$(VENV)/bin/python -m benchmarks.latency --minutes 2
	$(VENV)/bin/python -m benchmarks.imports

screenshots: $(READY)  ## the pictures of docs/ui.md, from the live demo; needs chromium
	$(VENV)/bin/python docs/screenshots.py

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell $(SPELLED)

format: $(READY)
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml uv.lock
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=$(VENV) $(VENV)/bin/uv sync --frozen --inexact \
	  --extra demo --extra kubernetes --extra celery --quiet
	$(VENV)/bin/python -m compileall -q ar_sync_pipeline
	touch $@
