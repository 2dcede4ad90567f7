# Everything a contributor runs. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
export PYTHON VENV
# Whole files, which have a server or a worker in common; the longest come first (tests/conftest.py).
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder
# Start-up times depend on compiled bytecode, whatever the environment asks for.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-fast test-container test-vm container host-packages test-packages \
  check-gcloud check-gpu check-python check-workers fleet fleet-packages fleet-server lint bench faults fuzz guest-tools release docs recording site pictures venv lock clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

demo: ## build the README's example on a real VM on this machine, and boot the result
	@make/demo.sh

test: venv test-packages ## run the tests that start no VM and no container: some ten minutes on two cores
	$(VENV)/bin/pytest -m "not vm and not container" $(SIDE_BY_SIDE)

test-all: host-packages test test-container test-vm ## run all tests: `make test`, then containers and VMs

test-fast: venv test-packages ## run those of `make test` that start no programs of their own
	$(VENV)/bin/pytest -m "not slow and not vm and not container" $(SIDE_BY_SIDE)

test-container: venv ## build the container image and run the tests that start containers of it
	$(VENV)/bin/pytest -m "container and not vm"

test-vm: host-packages ## run the tests that boot VMs under QEMU: [HALF=0|1|commit]
	$(VENV)/bin/pytest -m vm -n 2 --dist loadgroup

container: venv ## build the container image and its bill of materials: [IMAGE=… TAG=… CONTAINER_TOOL=… TARGET=emulator]
	@make/container.sh

test-packages: # what tests run that start no VM
	@make/host_packages.sh tests

host-packages: venv ## install what running VMs needs, or say what is missing
	@make/host_packages.sh

lint: venv ## check style, types and shell scripts
	@make/lint.sh

check-python: ## run the tests of core, command line and library with another Python, where one is at hand [OTHER_PYTHON=…]
	@make/check_python.sh

check-gcloud: venv ## run gcloud's commands on the local Compute Engine, and print a table of what came of them: [SIXTH=0…5|commit ONLY=pattern]
	@PYTHONPATH=tests $(VENV)/bin/python make/check_gcloud.py

check-gpu: venv ## try a real GPU driver in your own project: PROJECT=… [ZONE=… GPU_TYPE=… VERSION=… IMAGE_FAMILY=… KEEP=1]
	@make/check_gpu.sh

check-workers: venv ## ask the workers of Cloud Run and Kubernetes whether they know what deploy/ gives to their jobs
	@make/check_workers.sh

fuzz: venv ## feed the program bad input of every kind, and print what came of it: [CASES=20000 KINDS="recipes …" SEED=…]
	@PYTHONPATH=tests $(VENV)/bin/python make/fuzz.py $(or $(CASES),20000) $(KINDS)

faults: venv ## let builds run under every fault, signal and kill, and print a table: [TENTH=0…9|commit ONLY=pattern]
	@PYTHONPATH=tests $(VENV)/bin/python make/faults.py

fleet-server: venv fleet-packages ## run a Prefect server for a fleet (PostgreSQL, Redis, two replicas of the API) until Ctrl-C
	@PYTHONPATH=tests $(VENV)/bin/python make/fleet_server.py

fleet: venv fleet-packages ## build a fleet on it while things go wrong, and print what it cost: [RECIPES=1000 CHANGED=300 WORKERS=2 …]
	@PYTHONPATH=tests $(VENV)/bin/python make/fleet.py

fleet-packages: # what a server for a fleet runs
	@make/host_packages.sh fleet

bench: venv ## measure what performance is promised, against its limits (BENCH="--full" for the long ones)
	@$(VENV)/bin/python -m benchmarks $(BENCH)

guest-tools: ## build the programs that the guest brings along anew, and compare them with those that are there: [WRITE=1]
	@make/guest_tools.sh

release: venv ## make this commit a release (DATE=YYYYMMDD), or open the next one (NEXT=YYYYMMDD); docs/releasing.md
	@$(VENV)/bin/python make/release.py $(if $(NEXT),next $(NEXT),release $(DATE))
	@git --no-pager diff -- pyproject.toml CHANGELOG.md

docs: venv ## bring what the documents show of the program up to date
	@PYTHONPATH=tests $(VENV)/bin/python make/documentation.py

recording: venv ## record `make demo` anew, in a terminal of 80 columns: docs/images/demo.svg
	@$(VENV)/bin/python make/recording.py

site: ## build the documentation site into build/site, and check every link of it: [REPOSITORY=https://…]
	@make/site.sh

pictures: venv ## take the pictures of docs/prefect.md anew, of a run of its own (needs Chromium)
	@$(VENV)/bin/python make/pictures.py

venv: ## make .venv from the lock, with the emulator and all tools
	@make/venv.sh

lock: ## write requirements/ anew from pyproject.toml (UPGRADE=1 takes the newest of everything, UPGRADE=NAME,… of these)
	@make/lock.sh

clean: ## remove .venv and what tools leave in the tree; the stand-in image stays cached
	rm -rf $(VENV) .venv-other build dist .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
