"""Numbers, names, users and terminals that others were surprised by."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import pytest

from jaxgen.condition import Trajectory
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Scale, Sweep
from jaxgen.models.config import MLPConfig
from jaxgen.optimizers import SGD
from jaxgen.run.loop import member_names
from jaxgen.storage.files import file_names
from jaxgen.tasks import ModularTask
from tests.test_experiment import condition
from tests.tiny_paper import invoke

LARGEST = 2**31 - 1
TASK = ModularTask(p=11, train_fraction=0.5, format="a b")


@pytest.mark.report("google-deepmind/mujoco_playground#48")
@pytest.mark.report("google/brax#578")
def test_steps_are_those_that_the_counter_of_steps_can_count() -> None:
    assert condition(steps=LARGEST).steps == LARGEST
    for steps in (2**31, 3_000_000_000, 2**63, 10**400):
        with pytest.raises(UserError, match=r"^steps: got .* expected a number at least 1 and at most 2147483647$"):
            condition(steps=steps)
    with pytest.raises(UserError, match="at most 2147483647"):
        Experiment(name="e", title="", conditions=(condition(),), scales={"paper": Scale()}).at_scale(
            "paper", extend=2**31
        )


@pytest.mark.report("jax-ml/jax#6269")
def test_seeds_are_those_of_a_key() -> None:
    seed = condition(seeds=(0, LARGEST)).seeds[1]
    assert jax.random.key_data(jax.random.key(seed)).tolist() == [0, LARGEST]
    with pytest.raises(UserError, match=r"^seeds\[1\]: got 2147483648, expected .* at most 2147483647$"):
        condition(seeds=(0, 2**31))


@pytest.mark.report("OpenNMT/OpenNMT-py#1430")
@pytest.mark.report("hydra-ecosystem/hydra#1832")
def test_members_have_file_names_of_their_own_however_their_conditions_are_called() -> None:
    names = ["no decay", "no_decay", "NO_decay", "wd=5 lr=1", "plain", "n" * 254, "n" * 253 + "m", "..", "a/b"]
    made = file_names(names)
    assert len({name.casefold() for name in made}) == len(names)
    assert made[3:5] == ["wd=5_lr=1", "plain"]
    for name in made:
        assert len(name) <= 120
        assert not set(name) & set("/\0 ")
    members = [Trajectory(condition(name=name), seed, "") for name in ("no decay", "no_decay") for seed in (0, 1)]
    assert len(set(member_names(members))) == 4
    assert member_names(members[:2]) == ["no_decay.0", "no_decay.1"]
    with pytest.raises(UserError, match=r"^name: got 'nnn.*\.\.\. \(303 characters\), expected letters, digits"):
        condition(name="n" * 301)


@pytest.mark.long
@pytest.mark.report("OpenNMT/OpenNMT-py#1430")
def test_conditions_whose_names_meet_or_are_long_train_side_by_side(tiny: Path) -> None:
    notebook = tiny / "papers" / "tiny_paper" / "__init__.py"
    text = notebook.read_text().replace(
        "conditions=(base, ticket)",
        'conditions=(base, *(dataclasses.replace(base, name=n, seeds=(0,)) for n in ("a b", "a_b", "n" * 254)))',
    )
    # As others have another rate each, they are members and not one.
    rate = "name=n, optimizer=SGD(learning_rate=len(n) / 999 + (n == 'a_b')), "
    notebook.write_text(text.replace("name=n, ", rate))
    done = invoke("reproduce", "tiny-paper/main", "--scale", "smoke", "--seeds", "1")
    assert done.exit_code == 0, done.output
    folders = {each.name for each in (tiny / "runs").rglob("tensorboard/*")}
    assert len(folders) == 4
    assert len({each[:3] for each in folders}) == 3


@pytest.mark.report("hydra-ecosystem/hydra#1832")
def test_a_sweep_names_what_it_sweeps_over() -> None:
    def names(key: str, *values: object) -> list[str]:
        return [each.name for each in Sweep(base=condition(), axes={key: values}).conditions()]

    mlp = dataclasses.replace(condition(), model=MLPConfig(hidden=(4,)), task=TASK)
    swept = Sweep(base=mlp, axes={"model.hidden": ((8,), (16, 16)), "optimizer.learning_rate": (0.1, 1e-5)})
    assert [each.name for each in swept.conditions()] == [
        "hidden=8 learning_rate=0.1", "hidden=8 learning_rate=1e-05",
        "hidden=16,16 learning_rate=0.1", "hidden=16,16 learning_rate=1e-05",
    ]  # fmt: skip
    assert names("task.operation", "x+y", "x*y") == ["operation=x+y", "operation=x_y"]
    # Values whose names would be the same, or too long, are told apart all the same.
    same = names("task.operation", "x*y", "x/y")
    assert len(set(same)) == 2
    assert all(each.startswith("operation=x_y ") for each in same)
    (long,) = names("seeds", tuple(range(300)))
    assert len(long) < 300
    (nested,) = names("optimizer", SGD(learning_rate=0.5))
    assert nested.startswith("optimizer=SGD,0.5")


@pytest.mark.report("NixOS/nixpkgs#411914")
def test_a_user_without_a_home_keeps_programs_where_only_they_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxgen.distributed import environment

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("JAXGEN_CACHE")
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    place = tmp_path / f"jaxgen-{os.getuid()}"
    root, why = environment._cache_root()
    assert root == place
    assert place.stat().st_mode & 0o777 == 0o700
    assert "no home" in why
    assert str(place) in why
    assert "JAXGEN_CACHE" in why
    place.chmod(0o777)  # anybody could put a program there
    assert environment._cache_root()[0] is None
    place.rmdir()
    place.symlink_to(tmp_path)
    assert environment._cache_root()[0] is None
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "named"))
    assert environment._cache_root() == (tmp_path / "named", "")


@pytest.mark.report("NixOS/nixpkgs#411914")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_doctor_works_for_a_user_whom_the_machine_does_not_know() -> None:
    # What it reads of Python may be root's alone, so that is read before.
    code = """
import os
from jaxgen.cli import doctor, main
doctor.jax.devices()
doctor.discover()
os.setgid(54321)
os.setuid(54321)
main(["doctor"])
"""
    left_out = ("HOME", "JAXGEN_CACHE")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        variables["TMPDIR"] = folder
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert "Traceback" not in done.stderr
    assert "this user has no home" in done.stdout
    assert "all is well" in done.stdout


@pytest.mark.report("Textualize/rich#212")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_that_cannot_show_a_character_gets_another_one(encoding: str) -> None:
    command = [sys.executable, "-m", "jaxgen", "show", "nanda-modadd"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert ("≥" if encoding == "utf-8" else "\\u2265") in text
