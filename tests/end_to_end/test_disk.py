"""Runs on a drive that fills up, becomes read-only or goes away: one clear line, and what was saved is not lost."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from disturbed_runs import only_run, rows_without_times, slowed, start, wait_for_step

from lmlab.runs import checkpoints
from lmlab.runs.files import read_jsonl
from lmlab.runs.run import Run

pytestmark = pytest.mark.slow

STEPS = ["budget.tokens=76_800", "validation.times=12", "callbacks.checkpoint.every=37", "log_every=3"]  # 1200


class Drive:
    """A file system in memory at ``path``; ``spare`` is the same one, from another side."""

    def __init__(self, folder: Path) -> None:
        self.path, self.spare = folder / "drive", folder / "spare"
        self.path.mkdir()
        self.spare.mkdir()
        self.mount("-t", "tmpfs", "-o", "size=8m", "drive", self.path)
        self.mount("--bind", self.path, self.spare)

    def mount(self, *arguments: object) -> None:
        subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)

    def resize(self, kilobytes: int) -> None:
        self.mount("-o", f"remount,size={kilobytes}k", self.path)

    def fill(self) -> Path:
        """Another program takes all of the space, while the run goes on."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
        return filler

    def make_read_only(self) -> None:
        self.mount("--bind", self.path, self.path)
        self.mount("-o", "remount,ro,bind", self.path)

    def vanish(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def come_back(self) -> None:
        self.mount("--bind", self.spare, self.path)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    try:
        made = Drive(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    yield made
    for path in (made.path, made.path, made.path, made.spare):
        subprocess.run(["umount", "--lazy", str(path)], capture_output=True)


@pytest.fixture
def arguments(small: list[str], tmp_path: Path) -> list[str]:
    return [*small, *STEPS, "model=lstm", "logger=[]", slowed(tmp_path)]


UNDISTURBED: dict[str, Path] = {}


@pytest.fixture
def undisturbed(arguments: list[str], lmlab: Callable, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run without any trouble, computed once for all tests."""
    if not UNDISTURBED:
        outputs = UNDISTURBED["outputs"] = tmp_path_factory.mktemp("undisturbed")
        lmlab("train", *arguments, LMLAB_OUTPUTS=str(outputs))
    return only_run(UNDISTURBED["outputs"])


def ends_with_one_line(process: "subprocess.Popen[bytes]", *expected: str) -> None:
    _, errors = process.communicate(timeout=400)
    lines = errors.decode().splitlines()
    assert process.returncode == 1
    assert len(lines) == 1, errors.decode()
    for text in expected:
        assert text in lines[0], lines[0]


def last_good_step(run: Run) -> int:
    found = checkpoints.newest_good(run.checkpoints, pytest.fail)
    assert found is not None
    return found[0]


def assert_same(run: Run, undisturbed: Run) -> None:
    assert run.status == "finished"
    assert run.weights.read_bytes() == undisturbed.weights.read_bytes()
    assert run.manifest["metrics"] == undisturbed.manifest["metrics"]
    assert rows_without_times(run) == rows_without_times(undisturbed)
    assert read_jsonl(run.samples) == read_jsonl(undisturbed.samples)
    assert not list(run.path.rglob(".*.tmp"))


def room_for_two_checkpoints(run: Run) -> int:
    """Kilobytes that a run has written before its third checkpoint, and half of that one."""
    kilobytes = lambda path: path.stat().st_blocks // 2  # noqa: E731
    written = [path for path in run.path.parents[1].rglob("*") if path.is_file()]
    at_the_end = (run.metrics, run.weights, run.path / "curves.npz")
    others = [path for path in written if run.checkpoints not in path.parents and path not in at_the_end]
    newest = max(checkpoints.saved(run.checkpoints).values())
    state, checksums = newest / checkpoints.STATE, newest / checkpoints.CHECKSUMS
    rows = 20  # at most, until the third checkpoint
    two = 2 * (kilobytes(state) + kilobytes(checksums)) + kilobytes(run.best)
    return sum(map(kilobytes, others)) + two + rows + kilobytes(state) // 2


def test_a_run_that_fills_the_disk_goes_on_when_there_is_room(drive, arguments, undisturbed, lmlab, tmp_path):
    """There is room for two checkpoints, but not for the third, which is written before one is removed."""
    drive.resize(room_for_two_checkpoints(undisturbed))
    process = start(arguments, drive.path, subprocess.PIPE, tmp_path)
    kept = "No space left on device; the last good state, at step 74, is kept: make room and repeat the command"
    ends_with_one_line(process, "checkpoints/step-00000111: ", kept)
    run = only_run(drive.path)
    assert run.status == "failed" and kept in run.manifest["attempts"][-1]["error"]
    assert last_good_step(run) == 74 and not list(run.path.rglob(".*.tmp"))
    drive.resize(8192)
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(drive.path))
    assert_same(run, undisturbed)


def test_a_disk_that_another_program_fills(drive, arguments, undisturbed, lmlab, tmp_path):
    """Not even why it failed can be written down."""
    process = start(arguments, drive.path, subprocess.PIPE, tmp_path, slow=0.01)
    run = wait_for_step(drive.path, 200, process)
    filler = drive.fill()
    ends_with_one_line(process, str(run.path), "No space left on device; the last good state, at step ")
    assert run.status in ("interrupted", "failed"), "as much as a last checkpoint that is given up makes room for"
    assert last_good_step(run) >= 185
    done = lmlab("train", *arguments, check=False, LMLAB_OUTPUTS=str(drive.path))
    assert done.returncode == 1 and "Traceback" not in done.stderr and "No space left on device" in done.stderr
    filler.unlink()
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(drive.path))
    assert_same(run, undisturbed)


def test_a_disk_that_becomes_read_only(drive, arguments, undisturbed, lmlab, tmp_path):
    process = start(arguments, drive.path, subprocess.PIPE, tmp_path, slow=0.01)
    run = wait_for_step(drive.path, 200, process)
    drive.make_read_only()
    ends_with_one_line(
        process, str(run.path), "Read-only file system; the last good state, at step ", "make it writable"
    )
    assert last_good_step(run) >= 185
    done = lmlab("train", *arguments, check=False, LMLAB_OUTPUTS=str(drive.path))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "Read-only file system" in done.stderr
    drive.vanish()  # only the side that cannot be written
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(drive.path))
    assert_same(run, undisturbed)


def test_a_drive_that_goes_away_and_comes_back(drive, arguments, undisturbed, lmlab, tmp_path):
    process = start(arguments, drive.path, subprocess.PIPE, tmp_path, slow=0.01)
    run = wait_for_step(drive.path, 200, process)
    drive.vanish()
    ends_with_one_line(process, f"{run.path}: the folder is gone; bring it back and repeat the command")
    assert not list(drive.path.iterdir()), "nothing may be written where the drive was"
    drive.come_back()
    assert last_good_step(run) >= 185
    lmlab("train", *arguments, LMLAB_OUTPUTS=str(drive.path))
    assert_same(run, undisturbed)


def test_a_drive_that_goes_away_under_two_ranks(drive, arguments, tmp_path):
    several = ["trainer=ddp", "trainer.accelerator=cpu"]
    process = start([*arguments, *several], drive.path, subprocess.PIPE, tmp_path, slow=0.01)
    run = wait_for_step(drive.path, 100, process)
    drive.vanish()
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 1
    assert f"{run.path}: the folder is gone" in errors.decode().splitlines()[-1] and b"Traceback" not in errors
    assert not list(drive.path.iterdir()), "nothing may be written where the drive was"
    drive.come_back()
    assert last_good_step(run) >= 74
