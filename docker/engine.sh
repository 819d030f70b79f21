#!/usr/bin/env bash
# Prints the first of docker, podman and buildah that works here; where $ENGINE names one, that one must.
for engine in ${ENGINE:-docker podman buildah}; do
    if "$engine" info >/dev/null 2>&1; then
        echo "$engine"
        exit
    fi
done
echo "images need docker, podman or buildah: '${ENGINE:-docker|podman|buildah} info' must succeed" >&2
exit 2
