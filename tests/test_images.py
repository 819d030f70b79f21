"""The images' pins are what pyproject.toml allows, and their context is the source alone. No image is built here."""

import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jaxgen.distributed import environment

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
# The extra of pyproject.toml that an image has.
EXTRAS = {"cpu": None, "cuda": "cuda13", "tpu": "tpu"}


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "docker" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in filter(lambda line: line and not line.startswith("#"), text.splitlines()):
        pin = re.fullmatch(r"([a-z0-9-]+)==([0-9.]+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        assert pin, f"docker/{name}.txt: not an exact version with hashes: {line}"
        found[pin[1]] = pin[2]
    return found


@pytest.mark.parametrize("device", EXTRAS)
def test_the_pins_are_what_the_project_allows(device: str) -> None:
    pinned = pins(device)
    extra = EXTRAS[device]
    wanted = PROJECT["project"]["dependencies"] + (PROJECT["project"]["optional-dependencies"][extra] if extra else [])
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"docker/{device}.txt lacks {name}; run: make image-pins"
        assert pinned[name] in requirement.specifier, f"{name} {pinned[name]}, not {requirement}; run: make image-pins"
    assert set(environment.PACKAGES) - {"jaxgen"} <= set(pinned)


def test_an_extra_brings_its_plugin() -> None:
    assert {"jax-cuda13-plugin", "jax-cuda13-pjrt"} <= set(pins("cuda"))
    assert "libtpu" in pins("tpu")


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_the_images_share_the_layer_of_the_cpu(device: str) -> None:
    assert pins("cpu").items() <= pins(device).items()


def test_the_wheel_is_built_by_what_the_project_names() -> None:
    built = pins("build")
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        assert built[requirement.name] in requirement.specifier


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that matches it or a folder above it decides."""
    kept = True
    names = [path, *map(str, PurePosixPath(path).parents)]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(rule, name) for name in names):
            kept = line.startswith("!")
    return kept


def test_what_is_copied_exists_and_is_in_the_context() -> None:
    sources = [
        source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()
    ]
    assert {"jaxgen", "kernels", "experiments", "pyproject.toml"} <= set(sources)
    for source in sources:
        for device in EXTRAS:
            path = source.replace("${DEVICE}", device)
            assert (ROOT / path).exists()
            assert in_context(path)


def test_the_context_is_nothing_else() -> None:
    for path in (
        ".git/config", ".venv/bin/python", ".venv-newest/pyvenv.cfg", "runs/paper/experiment/mini/run.json",
        "tests/chaos.py", "docker/Dockerfile", "jaxgen/__pycache__/a.pyc", ".env",
        "experiments/xor_benign/__pycache__/a.pyc",
    ):  # fmt: skip
        assert not in_context(path), path
    assert in_context("jaxgen/report/page.html")
    assert in_context("experiments/xor_benign/results/paper.json")


def test_the_image_is_the_command_of_a_fixed_user() -> None:
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER ([1-9]\d*):\1$", last, re.MULTILINE)
    assert 'ENTRYPOINT ["jaxgen"]' in last
    assert f"{environment.CACHE_VARIABLE}=/cache" in last
    assert "JAXGEN_RUNS=/runs" in last
    assert 'VOLUME ["/runs", "/cache"]' in last
