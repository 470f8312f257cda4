#!/usr/bin/env bash
# Exports the learners on a CPU, and checks and times them on another machine:
#
#   experiments/speed/gpu_check.sh export FOLDER
#   experiments/speed/gpu_check.sh run FOLDER [REPORT.json]
#
# `export` needs this repository's environment (minutes, 8 GB of memory). `run`
# needs NumPy and jaxlib, and jax with its plugin for a GPU; it ends within 8
# minutes. FOLDER is a few MB. PYTHON=... chooses the interpreter.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 export|run FOLDER [REPORT.json]" >&2
  exit 2
fi
step=$1
folder=$(realpath -m "$2")
report=$(realpath -m "${3:-$2/gpu_check.json}")
cd "$(dirname "$0")/../.."
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi

case $step in
  export)
    exec "$PYTHON" -m experiments.speed.export_all "$folder"
    ;;
  run)
    # What is done by then is in the report.
    exec timeout 470 \
      "$PYTHON" -m experiments.speed.gpu_check "$folder" --out="$report"
    ;;
  *)
    echo "$0: neither export nor run: $step" >&2
    exit 2
    ;;
esac
