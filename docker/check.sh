#!/usr/bin/env bash
# Builds jaxgen:cpu, then runs `doctor`, `list` and a smoke experiment in it, as its own user: docker/check.sh [OPTION...]
# Options go to the build. docker and podman also keep the image read-only, which buildah cannot.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=$(docker/engine.sh)
docker/build.sh cpu "$@"

if [ "$engine" = buildah ]; then
    container=$(buildah from localhost/jaxgen:cpu)
    trap 'buildah rm "$container" >/dev/null' EXIT
    inside() { buildah run "$container" -- "$@"; }
else
    volume=jaxgen-check-$$
    trap '"$engine" volume rm "$volume" >/dev/null' EXIT
    inside() {
        "$engine" run --rm --read-only --tmpfs /tmp --volume "$volume:/runs" --entrypoint "$1" jaxgen:cpu "${@:2}"
    }
fi

set -x
test "$(inside id -u)" = 10001
inside jaxgen doctor
inside jaxgen list >/dev/null
inside jaxgen reproduce xor-benign/signal --scale smoke
inside test -s /runs/xor-benign/signal/smoke/report.html
