# Every target but clean depends on setup, so each works as the first command
# on a fresh machine. PYTHON=... chooses the interpreter of a new .venv; GPU=1
# adds the CUDA libraries that TensorFlow needs for an NVIDIA GPU.

export TF_CPP_MIN_LOG_LEVEL ?= 2

VENV := .venv
RUN := $(VENV)/bin/python
BENCH := $(RUN) -m impala.experiment --mode=benchmark --level_name=pong
INSTALLED := $(VENV)/.lock-installed
GPU_INSTALLED := $(VENV)/.gpu-installed
MINUTES := 60
CANDIDATES := python3.13 python3.12 python3.11 python3.10 python3

PRINT_VERSION := 'import sys; print("%d.%d" % sys.version_info[:2])'

.PHONY: setup demo test test-slow test-browser torture lint bench results clean

# Create .venv and install the tested set.
setup: $(if $(filter-out 0,$(GPU)),$(GPU_INSTALLED),$(INSTALLED))

demo: setup  # Train on Atari, evaluate, draw the curve, record a video.
	$(RUN) -m experiments.demo

test: setup  # All tests but the slow ones.
	$(RUN) -m pytest -n 2 --dist loadfile

test-slow: setup  # Minutes of training each, so one at a time.
	$(RUN) -m pytest -m slow

test-browser: setup  # Opens the report in Chromium (Debian: chromium).
	$(RUN) -m pytest -m browser tests/experiments

torture: setup  # Kills, damage, random flags and a soak: MINUTES of them.
	$(RUN) -m tools.torture --minutes=$(MINUTES)

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: setup  # Frames per second, by phase; close other programs first.
	for mode in sync async; do \
	  $(BENCH) --actor_mode=$$mode --preset=atari_expert_shallow && \
	  $(BENCH) --actor_mode=$$mode --preset=atari_expert_shallow \
	    --num_environments=64 && \
	  $(BENCH) --actor_mode=$$mode --preset=atari_expert_deep && \
	  $(BENCH) --actor_mode=$$mode --preset=atari_expert_deep \
	    --precision=bfloat16 || exit; \
	done

results: setup  # Write every generated table into the READMEs.
	$(RUN) -m experiments.tables --write

clean:  # Remove the environment and caches; runs stay.
	rm -rf $(VENV) .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An interpreter counts when it runs, is 3.10 to 3.13 and can make a venv (on
# Debian ensurepip is a package of its own). A .venv that still works is kept.
$(INSTALLED): requirements-lock.txt
	@if ! $(RUN) -m pip --version >/dev/null 2>&1; then \
	  found=''; chosen=''; \
	  for python in $(or $(PYTHON),$(CANDIDATES)); do \
	    version=$$("$$python" -c $(PRINT_VERSION) 2>/dev/null) || continue; \
	    case "$$version" in \
	      3.10|3.11|3.12|3.13) ;; \
	      *) found="$$found $$python is $$version,"; continue;; \
	    esac; \
	    if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	      chosen=$$python; break; \
	    fi; \
	    found="$$found $$python has no venv (Debian: python3-venv),"; \
	  done; \
	  if [ -z "$$chosen" ]; then \
	    echo "make setup: needs Python 3.10 to 3.13;$${found:- found none,}" \
	      "choose one with PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "make setup: creating $(VENV) with $$chosen"; \
	  "$$chosen" -m venv --clear $(VENV); \
	fi
	@echo 'make setup: installing requirements-lock.txt (minutes, about 1 GB)'
	@$(RUN) -m pip install --quiet --disable-pip-version-check --use-pep517 \
	  -r requirements-lock.txt
	@touch $@

# The same TensorFlow, as the lock file says, and what it loads on a GPU.
$(GPU_INSTALLED): $(INSTALLED)
	@echo 'make setup: installing the CUDA libraries (minutes, about 3 GB)'
	@$(RUN) -m pip install --quiet --disable-pip-version-check \
	  -c requirements-lock.txt 'tensorflow[and-cuda]'
	@touch $@
