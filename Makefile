# The commands of daily work. `make` lists them.

PYTHON ?= python3
BIN = .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup test test-all lint format pages docs wheel clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST)

setup: ## Make the environment .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[test]'

test: ## Run the tests on all cores
	$(BIN)/pytest -n auto --dist worksteal

test-all: ## Run the slow tests too
	$(BIN)/pytest -n auto --dist worksteal -m "slow or not slow"

lint: ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pages: ## Write docs/settings.md and docs/commands.md anew
	$(BIN)/python -m gia_mic.commands.settings_page > docs/settings.md
	$(BIN)/python -m gia_mic.commands.reference_page > docs/commands.md

docs: ## Build the site of the documentation into site/
	$(BIN)/mkdocs build --strict

wheel: ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## Delete what was built, and caches of tools
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
