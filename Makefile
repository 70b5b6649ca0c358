# make demo    the alarm-to-OTA loop on the embedded sandbox
# make test    checks, then every test
# make check   format, lint, types, layers
# make lock    new versions of the dependencies (needs uv)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 4

.PHONY: demo test check format lock clean
.DEFAULT_GOAL := demo

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fleetsim needs Python 3.11 or later; name one with make PYTHON=…" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/installed
	$(BIN)/fleetsim demo

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -n $(JOBS) --dist loadfile

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade --output-file requirements.lock
	sed -i '1i # Every package fleetsim needs to run, test and build, with hashes. Made by `make lock`.' requirements.lock

clean:
	rm -rf $(VENV) dist runs
