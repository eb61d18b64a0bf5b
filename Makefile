# `make` lists the targets. All of them work in a fresh clone: they make .venv and install what they need by themselves.

VENV := .venv
BIN := $(VENV)/bin
# Which Python makes .venv; else the first of python3, python3.14 ... python3.11 that is new enough.
PYTHON ?=
# How many processes pytest tests with, and what else it is told: make test WORKERS=0 PYTEST_ARGS='-x -k refresh'
WORKERS ?= 4
PYTEST_ARGS ?=
# What the tests run on: standalone (the server that is found), cluster (three masters) or valkey (that of the extra).
REDIS ?= standalone
LOCKS := .ci/requirements

export VENV PYTHON

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help serve test check format-check lint types imports house pytest coverage format screenshots openapi board bench bench-peers fuzz timing schemathesis soak faults hostile standards dist pythons bare image snippets lock clean install-serve install-test

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------------------------ run

ifneq ($(PORT),)
serve: export GATEWAY_PORT := $(PORT)
endif
ifneq ($(DATA_DIR),)
serve: export GATEWAY_DATA_DIR := $(DATA_DIR)
endif

serve: install-serve ## Run the gateway with a private Redis and a demo user (PORT=8000 DATA_DIR=...)
	@exec .ci/serve

bench: install-test ## Measure how far the gateway is from what the machine can do (ONLY=authz BRIEF=1)
	@failed=; for file in benchmarks/bench_$(or $(ONLY),*).py; do \
		echo "== $$file"; BRIEF=$(or $(BRIEF),0) $(BIN)/python "$$file" || failed="$$failed $$file"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }
	@[ -n "$(ONLY)$(BRIEF)" ] || $(BIN)/python benchmarks/report.py

bench-peers: install-serve ## Measure others that do a part of its work beside the gateway (benchmarks/peers, BRIEF=1)
	@$(BIN)/python benchmarks/peers/bench_peers.py

timing: export TIMING := full
timing: install-test ## Measure what login times tell, and a flood of logins, on a machine that does nothing else
	$(BIN)/pytest -s tests/test_login_timing.py tests/test_password_flood.py $(PYTEST_ARGS)

fuzz: export FUZZ_REQUESTS := $(or $(FUZZ_REQUESTS),100000)
fuzz: export FUZZ_SEED := $(or $(FUZZ_SEED),$(shell date +%s))
fuzz: install-test ## Send 100,000 random subrequests to a real gateway, as many requests to /oauth/*, and as many in odd pieces (FUZZ_REQUESTS=... FUZZ_SEED=...)
	$(BIN)/pytest -s tests/proxies/test_fuzz.py tests/web/oauth/test_fuzz.py tests/connections/test_cuts.py tests/connections/test_differential.py $(PYTEST_ARGS)

schemathesis: export OPENAPI_EXAMPLES := $(or $(OPENAPI_EXAMPLES),100)
schemathesis: install-test ## Ask a real gateway all that its OpenAPI document allows, and more (OPENAPI_EXAMPLES=... of each operation)
	@.ci/schemathesis
	$(BIN)/pytest -s --timeout=3600 tests/web/openapi/test_schemathesis.py $(PYTEST_ARGS)

soak: install-test ## Torment refresh families, and accounts with second factors, for about 30 minutes (docs/soak.md)
	$(BIN)/pytest -q -n 2 --dist worksteal --soak --timeout=3600 tests/families tests/web/test_factor_machine.py $(PYTEST_ARGS)

faults: install-test ## Break all that a gateway stands on, for about half an hour (docs/faults.md)
	$(BIN)/pytest -q --faults --timeout=3600 tests/faults $(PYTEST_ARGS)

# The newest Caddy beside Debian's: go install github.com/caddyserver/caddy/v2/cmd/caddy@latest
hostile: export NEWEST_CADDY := $(or $(NEWEST_CADDY),caddy-newest)
hostile: install-test ## Open 100,000 hostile connections through real proxies (docs/hostile.md, NEWEST_CADDY=its path)
	$(BIN)/pytest -q --hostile --timeout=3600 tests/hostile $(PYTEST_ARGS)

# ----------------------------------------------------------------------------------------------------------------- test

test: check pytest ## Run everything: format, lint, types, import rule, tests

check: format-check lint types imports ## Run the checks without the tests

format-check: install-test ## Check that the code is formatted
	$(BIN)/ruff format --check .

lint: install-test ## Check the code with ruff
	$(BIN)/ruff check .

types: install-test ## Check the types with mypy --strict
	$(BIN)/mypy --strict

imports: install-test ## Check who imports whom
	$(BIN)/lint-imports --no-logo

house: install-test ## Show the rooms of the code, floor by floor, and who imports whom
	@$(BIN)/python .ci/house

pytest: export TEST_REDIS := $(REDIS)
# Many tests have limits of time, and share the cores with others: what fails is run once more, alone, and told.
pytest: install-test ## Run the tests (WORKERS=4 REDIS=cluster PYTEST_ARGS=...)
	@$(BIN)/pytest -n $(WORKERS) $(PYTEST_ARGS) || { status=$$?; [ "$$status" = 1 ] || exit "$$status"; \
		echo "== what failed beside other tests, once more and alone:"; \
		$(BIN)/pytest -n 0 --last-failed --last-failed-no-failures none $(PYTEST_ARGS); }

coverage: export TEST_REDIS := $(REDIS)
coverage: install-test ## Run the tests, and tell which lines of the gateway none of them reaches
	$(BIN)/pytest -n $(WORKERS) --cov --cov-report=term $(PYTEST_ARGS)

format: install-test ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# -------------------------------------------------------------------------------------------------------------- publish

dist: install-test ## Build what is published into dist/: wheels, sdists, SBOMs and hashes, twice the same bytes
	@$(BIN)/python .ci/dist

# On PATH, or of pyenv; others: .ci/pythons PYTHON...
pythons: install-test ## Test the wheel and a core of the suite with Python 3.11 to 3.14, as far as they are here
	@.ci/pythons

bare: dist ## Install the wheel on a Debian 12 with nothing but Python, and log in with a browser (docs/installing.md)
	@$(BIN)/python -m tests.artefacts.bare

# ENGINE='podman --runtime runc' BUILD_OPTIONS=... RUN_OPTIONS=... PYTHON_IMAGE=...
image: install-test ## Build the image and run it as its user and as one whom nobody knows (docker or podman)
	@$(BIN)/python -m tests.artefacts.image

# ---------------------------------------------------------------------------------------------------------------- house

screenshots: install-test ## Make the pictures of the quickstart again (docs/pictures)
	@$(BIN)/python -m tests.browser.screenshots

standards: install-test ## Tell which test shows which point of the standards, and write docs/standards.md
	@$(BIN)/python -m tests.standards.scoreboard

snippets: install-test ## Run every program of docs/verifying.md, also those whose libraries take minutes to build
	@.ci/interop slow
	$(BIN)/pytest -s tests/interop/test_verifying.py $(PYTEST_ARGS)

openapi: install-test ## Make the page of the OpenAPI document again (docs/api.md)
	@$(BIN)/python -m tests.web.openapi.page >docs/api.md

board: install-test ## Make the picture of the board again, from a run of four minutes (docs/pictures)
	@$(BIN)/python -m tests.telemetry.board

install-serve:
	@.ci/setup serve

install-test:
	@.ci/setup test

# The test file comes first and holds the versions for the others. UPGRADE=--upgrade takes the newest versions.
COMPILE = $(BIN)/uv pip compile --quiet $(UPGRADE) pyproject.toml
lock: install-test ## Make the lock files again (UPGRADE=--upgrade for newer versions)
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --require-hashes -r $(LOCKS)/lock.txt
	$(COMPILE) --extra embedded --extra imports --group test --group lint --group build --group dist -o $(LOCKS)/test.txt
	$(COMPILE) --extra embedded --constraints $(LOCKS)/test.txt -o $(LOCKS)/serve.txt
	$(COMPILE) --extra imports --constraints $(LOCKS)/test.txt -o $(LOCKS)/runtime.txt
	$(BIN)/uv pip compile --quiet $(UPGRADE) --group build --constraints $(LOCKS)/test.txt -o $(LOCKS)/build.txt
	$(BIN)/uv pip compile --quiet $(UPGRADE) --group lock -o $(LOCKS)/lock.txt
	$(BIN)/uv pip compile --quiet $(UPGRADE) --group schemathesis --constraints $(LOCKS)/test.txt -o $(LOCKS)/schemathesis.txt
	$(BIN)/uv pip compile --quiet $(UPGRADE) --group oldest --no-build -o $(LOCKS)/verifier-oldest.txt

clean: ## Remove what the targets made, .venv too; data of `make serve` stays
	rm -rf $(VENV) benchmarks/peers/.work benchmarks/results/brief benchmarks/results/full build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
