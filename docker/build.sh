#!/usr/bin/env bash
# Builds jaxgen:cpu, jaxgen:cuda or jaxgen:tpu with docker, podman or buildah: docker/build.sh DEVICE [OPTION...]
# ENGINE names one of the three, BASE another base image; options go to its `build`.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:?cpu, cuda or tpu}
shift
engine=$(docker/engine.sh)
options=(--file docker/Dockerfile --tag "jaxgen:$device" --build-arg "DEVICE=$device")
options+=(--build-arg "REVISION=$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null || true)")
if [ -n "${BASE:-}" ]; then options+=(--build-arg "BASE=$BASE"); fi
# Of the three, buildah alone forgets layers unless it is asked.
if [ "$engine" = buildah ]; then options+=(--layers); fi
exec "$engine" build "${options[@]}" "$@" .
