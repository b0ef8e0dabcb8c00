# Every command sets itself up. Parameters pass through: make workbook DATASET=celebahq N_IDS=20 SEED=0 PRESET=cpu
# Settings of methods, where a chapter takes them: make workbook SETTINGS='{"curvature": {"eta": 0.01}}'
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/ready
DATA_ROOT ?= data
OUT ?= runs/notebooks
OF_CHAPTERS := DATASET N_IDS SEED RESERVED SHOW_FACES
PARAMETERS := $(foreach name,$(OF_CHAPTERS) PRESET,"$(name)=$($(name))") 'SETTINGS=$(SETTINGS)'
# A name that is none of these would be set and read by nobody: N_ID=1 runs with ten people, `make tune SEED=1` with 100.
# (Of PRESET every command learns something: `paper` has all threads.)
EVERY := VENV PYTHON CPU_INDEX OMP_NUM_THREADS PRESET
TAKES_workbook := $(OF_CHAPTERS) SETTINGS DATA_ROOT OUT
TAKES_app := $(OF_CHAPTERS) SETTINGS DATA_ROOT PORT
TAKES_profile := DATA_ROOT
TAKES_results := DATA_ROOT SWEEP
TAKES_sweep := DATA_ROOT SWEEP
TAKES_tune := DATA_ROOT DATASET N_IDS
TAKES_weights := WEIGHTS
TAKES_gpu-check := GPU
TAKEN := $(EVERY) $(foreach goal,$(MAKECMDGOALS),$(TAKES_$(goal)))
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
ifneq ($(filter-out $(TAKEN),$(GIVEN)),)
$(error make $(MAKECMDGOALS) has no parameter $(filter-out $(TAKEN),$(GIVEN)): it takes $(TAKEN); parameters of single chapters, as FORMS, go to `python -m shui_workbook.course.notebooks run --parameters`, those of searches to `python -m shui_workbook.studies.selection`)
endif
# Threads of small networks wait for each other: one a process, and processes side by side.
ifneq ($(PRESET),paper)
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS
endif
# Keep freed memory: giving it back after every batch costs a seventh of the training time (glibc; no effect elsewhere).
export MALLOC_MMAP_THRESHOLD_ := 1000000000
export MALLOC_TRIM_THRESHOLD_ := 1000000000
# The last come first: they are longer, and wait for fewer of the others' stages.
NOTEBOOKS := $(shell ls -r notebooks/*.ipynb)

.PHONY: help weights workbook profile results sweep tables tune test test-matrix lint check bench gpu-check scaling lab app notebooks exercises slides html clean
help: ## say what each command does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# uv is used if it is there, and pip where uv fails. Without a GPU PyTorch comes from its CPU index, and several GB of
# CUDA libraries stay where they are: torch and torchvision both from there, alone, whatever else pip is told to look at,
# or else both from the usual place. Of one here and one there neither would work.
PIP := $(BIN)/python -m pip install --quiet --progress-bar off
CPU_INDEX := https://download.pytorch.org/whl/cpu
ALONE := --isolated --retries 0 --timeout 15 --index-url $(CPU_INDEX)
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	sed -nE 's/^  "(torch(vision)?[<>=].*)",$$/\1/p' pyproject.toml > $(VENV)/torch.txt
	test -e /dev/nvidiactl || test "$$(uname)" != Linux || PIP_CONFIG_FILE=/dev/null $(PIP) $(ALONE) -r $(VENV)/torch.txt 2>/dev/null || echo "PyTorch comes from the usual index: its CPU wheels were not to be had"
	(command -v uv >/dev/null && uv pip install --quiet --python $(BIN)/python -e ".[dev]") || $(PIP) -e ".[dev]"
	touch $@

data/%/dataset.json: data_prep/faces.py data_prep/faces_drawing.py | $(READY)
	$(BIN)/python -m data_prep faces --out data/$* $(RENDERED_$*)
RENDERED_ages := --task ages
RENDERED_strangers := --first-identity 200 --identities 1140  # two thirds of them and validation: over 10,000 images

workbook: $(READY) data/faces/dataset.json ## execute every notebook headlessly; prints where they are
	$(BIN)/python -m shui_workbook.course.notebooks run --data-root "$(DATA_ROOT)" --out "$(OUT)" --parameters $(PARAMETERS)

profile: $(READY) data/faces/dataset.json ## where the time of `make workbook` goes, with nothing there yet: a table by chapter and stage
	$(BIN)/python -m shui_workbook.sweep.profile --data-root "$(DATA_ROOT)"

results: export OMP_NUM_THREADS := 1
results: $(READY) $(foreach name,faces ages strangers,data/$(name)/dataset.json) ## recompute the rows of the tables (hours; resumes); settings, LTU and GAN: docs/setup.md
	$(BIN)/python -m shui_workbook.sweep.grid results --data-root "$(DATA_ROOT)" $(SWEEP)
	$(BIN)/python -m shui_workbook.studies.ablations --data-root "$(DATA_ROOT)"
	$(BIN)/python -m shui_workbook.studies.gain --data-root "$(DATA_ROOT)" --seeds 0 1 2 3 4
	$(BIN)/python -m shui_workbook.studies.tradeoff --data-root "$(DATA_ROOT)" --seeds 0 1 2 3
	$(BIN)/python -m shui_workbook.studies.tradeoff --data-root "$(DATA_ROOT)" --seeds 0 1 2 --dataset ages
	test ! -f "$(DATA_ROOT)/celebahq/dataset.json" || $(BIN)/python -m shui_workbook.studies.tradeoff --data-root "$(DATA_ROOT)" --dataset celebahq --n-ids 20 --reserved 50
	env -u MALLOC_MMAP_THRESHOLD_ -u MALLOC_TRIM_THRESHOLD_ $(BIN)/python -m benchmarks.costs --data-root "$(DATA_ROOT)" --seeds 0

sweep: $(READY) data/faces/dataset.json ## runs of your choice on many workers: SWEEP="--datasets faces --seeds 0 1 --workers 2 --dry-run"
	$(BIN)/python -m shui_workbook.sweep.grid grid --data-root "$(DATA_ROOT)" $(SWEEP)

tables: $(READY) ## rewrite docs/results.md and the README's claims from results/ alone
	$(BIN)/python -m shui_workbook.reports.pages

weights: $(READY) ## bring pretrained weights (face-resnet, vit-s14) into weights/; WEIGHTS=NAME for one
	$(BIN)/python -m data_prep.weights $(WEIGHTS)

tune: $(READY) data/faces/dataset.json ## choose the small presets' settings on the tuning pool
	$(BIN)/python -m shui_workbook.studies.selection --dataset "$(or $(DATASET),faces)" --n-ids "$(or $(N_IDS),10)" --preset "$(or $(PRESET),cpu)" --data-root "$(DATA_ROOT)"

test: export SHUI_STUDENT_COPIES := run
test: lint data/faces/dataset.json ## lint, unit tests, every student copy, every notebook under nbval
	SHUI_PROGRESS=off $(BIN)/python -m pytest -n auto $(LONGEST_FIRST) --nbval-lax --nbval-cell-timeout=900 -q $(NOTEBOOKS) tests

test-matrix: $(READY) data/faces/dataset.json ## every chapter under `smoke`, on requests and data sets of other kinds
	SHUI_MATRIX=run SHUI_PROGRESS=off $(BIN)/python -m pytest -n auto --dist loadgroup -q tests/test_matrix.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# A file's tests share what they prepare, and files are taken in the order that tests/conftest.py gives them.
LONGEST_FIRST := --dist loadfile --no-loadscope-reorder
check: lint ## lint and unit tests, for daily work
	$(BIN)/python -m pytest -q -n auto $(LONGEST_FIRST) tests

bench: $(READY) ## fast paths against their obvious twins
	SHUI_PROGRESS=off $(BIN)/python -m benchmarks

# On a bare machine with a GPU it takes the Python that holds PyTorch: no environment is made.
gpu-check: ## does everything work on one card, and how fast? eight minutes at most; GPU="--dry-run", GPU="--parts training"
	SHUI_PROGRESS=off $(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu_check $(GPU)

scaling: $(READY) ## every stage at CelebA's size, with noise for photos: how time, memory and disk grow
	$(BIN)/python -m benchmarks.scaling

lab: $(READY) data/faces/dataset.json ## open JupyterLab
	$(BIN)/jupyter lab notebooks --ServerApp.contents_manager_class=shui_workbook.course.contents.Contents

app: $(READY) data/faces/dataset.json ## serve the explorer of chapter 11 as a page on this machine
	$(BIN)/python -m shui_workbook.course.app --port $(or $(PORT),8866) --data-root "$(DATA_ROOT)" --parameters $(PARAMETERS)

notebooks: $(READY) data/faces/dataset.json ## execute the notebooks in place and strip what changes from run to run
	$(BIN)/python -m shui_workbook.course.notebooks refresh

exercises: $(READY) ## cut the student copies, without solutions: exercises/
	$(BIN)/python -m shui_workbook.course.exercises

slides: $(READY) ## slides of the chapters, from cells tagged `slide`: site/slides/
	$(BIN)/python -m shui_workbook.course.slides

# MyST-NB writes a folder of its own beside the pages.
html: $(VENV)/site-ready ## the executed course as a static site with search: site/html/index.html
	$(BIN)/python -m sphinx -q -c docs . site/html
	@echo "site/html/index.html"

$(VENV)/site-ready: $(READY)
	$(BIN)/python -m pip install --quiet --progress-bar off -e ".[dev,site]"
	touch $@

clean: ## remove runs and prepared data, keep the environment
	rm -rf runs data
