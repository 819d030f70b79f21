"""TensorBoard's folder, which may be a user's own place, or one that cannot be written."""

from pathlib import Path

import pytest

from jaxgen.ledger.runs import load_run
from jaxgen.run import mirrors
from jaxgen.run.arguments import Interrupted
from tests.test_reproduce import Stopper, run
from tests.tiny_paper import invoke


@pytest.mark.long
@pytest.mark.report("pytorch/kineto#331")
def test_a_mirror_that_cannot_be_written_blocks_no_training(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        run(tiny / "run", Stopper(9), seeds=1)
    (directory,) = load_run(tiny / "run").populations()
    board = directory.path / "tensorboard"
    outside = tiny / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    board.symlink_to(outside)
    result = invoke("resume", str(tiny / "run"))
    assert result.exit_code == 0
    assert f"TensorBoard is left out until the run is resumed: {board} is a link" in result.output
    assert [path.name for path in outside.iterdir()] == ["kept"]
    board.unlink()

    def refusing(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mirrors.TensorBoard, "_append", refusing)
    result = invoke("reproduce", "tiny-paper/main", "--scale", "smoke", "--runs", str(tiny / "runs"))
    assert result.exit_code == 0
    assert "TensorBoard is left out until the run is resumed: [Errno 13] Permission denied" in result.output
