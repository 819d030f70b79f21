#!/usr/bin/env bash
# Renews the exact versions, with hashes, that the images have: docker/pins.sh PYTHON, where PYTHON has uv.
# They are the newest that pyproject.toml allows on what the base image is: Python 3.12, glibc 2.36.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
pin() {
    "$python" -m uv pip compile --no-config --quiet --upgrade --python-version 3.12 \
        --python-platform x86_64-manylinux_2_36 --generate-hashes --no-annotate \
        --custom-compile-command "make image-pins" "$@"
}
"$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
    | pin - --output-file docker/build.txt
pin pyproject.toml --output-file docker/cpu.txt
# With the versions of the CPU image, whose layer they share.
pin pyproject.toml --constraint docker/cpu.txt --extra cuda13 --output-file docker/cuda.txt
pin pyproject.toml --constraint docker/cpu.txt --extra tpu --output-file docker/tpu.txt
