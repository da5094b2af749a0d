# make demo   render a short clip and track it
# make test   install the package and run the tests
# make check  lint, format and types
# make docs   build the API reference into build/docs
# make coverage   run the tests and print which lines they leave out
# make release    build the wheel and the sdist that are published into dist
# make venv   make the virtual environment only
# make clean  remove what these made, and the virtual environment
# make test-everywhere   run the tests as other processors and loaded machines would (half an hour)

PYTHON ?= $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

.PHONY: demo test check types docs coverage release test-everywhere venv clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python tools/make_demo.py demo
	$(BIN)/vos-track demo/clip.mp4 --first-mask demo/first_mask.png -o demo/result --overwrite
	@echo "The result is in demo/result"

# a process for each core, each with one thread: most tests keep one core busy at most; the longest files come first
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy wants every package under its own name: folders of links stand for an installed tree
types: $(INSTALLED)
	mkdir -p .check/vos
	find .check/vos -type l -delete
	ln -s $(abspath $(filter-out %/__pycache__,$(wildcard vos/*)) trackers benchmarks) .check/vos
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python tools/build_docs.py -o build/docs

# without the tests that limit the size of files, and so of coverage's own
coverage: $(INSTALLED)
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest --numprocesses auto --dist loadfile -m "not slow" -k "not may_not_grow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

release: $(INSTALLED)
	$(BIN)/python tools/build_release.py -o dist

test-everywhere: $(INSTALLED)
	$(BIN)/python tools/test_everywhere.py -o docs/tested-on.md

venv: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test,demo,check,docs]'
	touch $@

clean:
	rm -rf $(VENV) .check build dist demo htmlcov .coverage .pytest_cache vos_track.egg-info
	find vos trackers benchmarks tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
