"""A training in odd places gives the numbers that it gives elsewhere: paths, users, terminals, languages, read-only folders."""

import os
import shutil
import subprocess
import sysconfig
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest
from bad_configurations import BASE
from program import PATIENCE, ROOT, metrics, run_ids, status

pytestmark = pytest.mark.system

Metrics = dict[tuple[object, object], object]
CONSOLE = "from ratespike.cli.console import main; main()"
TRAIN = ("train.py", *BASE)
NO_HOME = "/proc/nowhere"  # where nobody can make a folder
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # otherwise Python takes UTF-8 for the language C


@dataclass(frozen=True)
class Place:
    """How a program is started.

    Attributes:
        prefix: words in front of Python; `"$@"` stands for the rest of the command in a shell's line.
        environment: variables that are set, or unset by None.
        folder: where it is started, below the folder that holds the clone.
    """

    prefix: Sequence[str] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    folder: str = "Vögel im Wald"


def shell(line: str) -> Sequence[str]:
    return ("bash", "-o", "pipefail", "-c", line, "bash")


PLACES = {
    "another directory": Place(folder="elsewhere"),
    "a symbolic link": Place(folder="link"),
    "no HOME": Place(environment={"HOME": None}),
    "a user without a name and a home": Place(
        ("unshare", "--user", "--map-user=4242"), dict.fromkeys(("HOME", "USER", "LOGNAME"))
    ),
    "no terminal, no input, no output": Place(("setsid", "--wait", *shell('"$@" <&- >&- 2>&-'))),
    "into head": Place(shell('"$@" 2>&1 | head -n 1')),
    "LANG=C": Place(environment={"LANG": "C", "LC_ALL": None}),
    "a terminal without letters": Place(environment={"PYTHONIOENCODING": "ascii"}),
}


@dataclass(frozen=True)
class Clone:
    """The repository's programs with an environment of their own, which finds the installed packages.

    Attributes:
        root: the folder.
        python: the environment's interpreter.
    """

    root: Path
    python: Path

    @classmethod
    def made_in(cls, root: Path) -> "Clone":
        """What `git clone` and `make` have made in a folder."""
        for name in ("conf", "src"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for program in ROOT.glob("*.py"):
            shutil.copy(program, root)
        venv.create(root / ".venv", symlinks=True)
        (packages,) = (root / ".venv").glob("lib/python*/site-packages")
        installed = sysconfig.get_path("purelib")
        (packages / "clone.pth").write_text(f"{root / 'src'}\nimport site; site.addsitedir({installed!r})\n", "utf-8")
        return cls(root, root / ".venv/bin/python")

    def run(self, place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with some arguments to its end, in a place."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "HYDRA", "PYTHON", "NUMBA"))
        }
        environment["TMPDIR"] = str(self.root.parent / "tmp")
        for name, value in place.environment.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        began = time.monotonic()
        done = subprocess.run(
            [*place.prefix, str(self.python), *arguments],
            cwd=self.root.parent / place.folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
        )
        print(f"{time.monotonic() - began:6.1f} s", flush=True)
        return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in a path with spaces and umlauts."""
    above = tmp_path_factory.mktemp("odd")
    for name in ("elsewhere", "tmp", "Vögel im Wald"):
        (above / name).mkdir()
    (above / "link").symlink_to(above / "Vögel im Wald")
    return Clone.made_in(above / "Vögel im Wald")


@pytest.fixture(scope="module")
def expected(clone: Clone) -> Metrics:
    """What the training gives where nothing else is odd than the path."""
    done = clone.run(Place(), *TRAIN)
    assert done.returncode == 0, done.stderr
    assert "spiking accuracy" in done.stdout
    return finished(clone.root)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone in which nothing can be written, with a folder `mine` beside it in which one can."""
    above = tmp_path_factory.mktemp("read_only")
    for name in ("mine", "tmp", "clone"):
        (above / name).mkdir()
    made = Clone.made_in(above / "clone")
    subprocess.run(["chmod", "-R", "a-w", made.root], check=True)
    yield made
    subprocess.run(["chmod", "-R", "u+w", made.root], check=True)


def finished(folder: Path) -> Metrics:
    """The metrics of the last run in a folder, which is finished."""
    run_id = run_ids(folder)[-1]
    assert status(folder, run_id) == "FINISHED"
    return metrics(folder, run_id)


def skip_where_not_allowed(prefix: Sequence[str]) -> None:
    """Skip the test where this host does not let its user put these words in front of a command."""
    try:
        tried = subprocess.run([*prefix, "true"], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(str(error))
    if tried.returncode:
        pytest.skip(tried.stderr)


@pytest.mark.parametrize("name", PLACES)
def test_a_training_gives_the_same_numbers(clone: Clone, expected: Metrics, name: str) -> None:
    place = PLACES[name]
    skip_where_not_allowed(place.prefix)
    before = len(run_ids(clone.root))
    program, *settings = TRAIN
    where = clone.root.parent / "link" if place.folder == "link" else clone.root
    done = clone.run(place, str(where / program), *settings)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(run_ids(clone.root)) == before + 1, "its results are somewhere else"
    assert finished(clone.root) == expected


@pytest.mark.parametrize("environment", [{"HOME": NO_HOME}, {"HOME": NO_HOME, **ASCII}], ids=["no home", "ASCII alone"])
def test_an_installation_that_cannot_be_written(read_only: Clone, expected: Metrics, environment: Mapping[str, str]) -> None:
    """Nor is there another place where Numba could keep what it compiles."""
    drops_rights = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
    skip_where_not_allowed(drops_rights)
    done = read_only.run(Place(drops_rights, environment, "mine"), "-c", CONSOLE, "train", *BASE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    mine = read_only.root.parent / "mine"
    assert finished(mine) == expected
    assert {path.name.partition(".")[0] for path in mine.iterdir()} == {"mlflow", "mlruns", "outputs"}
    assert not [*read_only.root.parent.rglob("*.nbi")], "Numba has found a place"


def test_a_sweep_and_its_jobs_outlast_head(clone: Clone, expected: Metrics) -> None:
    before = len(run_ids(clone.root))
    done = clone.run(PLACES["into head"], "train.py", "-m", *BASE, "n_steps=2,3")
    assert done.returncode == 0, done.stderr
    sweep, *jobs = run_ids(clone.root)[before:]
    assert [status(clone.root, run_id) for run_id in (sweep, *jobs)] == ["FINISHED"] * 3
    shared = "val/rate_accuracy", 1
    assert {metrics(clone.root, run_id)[shared] for run_id in jobs} == {expected[shared]}


def test_the_version_is_that_of_ratespike(clone: Clone) -> None:
    done = clone.run(Place(), "train.py", "--version")
    assert (done.returncode, done.stdout) == (0, f"ratespike {metadata.version('ratespike')}\n")


def test_another_system_than_linux_is_refused_in_a_line(clone: Clone) -> None:
    code = "import sys; sys.platform = 'win32'; import ratespike.cli.programs"
    done = clone.run(Place(), "-c", code)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the programs run on Linux, not on win32; ratespike.load and ratespike.simulate do\n"


def test_the_library_runs_where_linux_s_locks_and_cores_are_missing(clone: Clone, expected: Metrics) -> None:
    """A checkpoint is loaded and simulated without `fcntl` and `sched_getaffinity`."""
    checkpoint = next((clone.root / "mlruns").rglob("best.ckpt"))
    code = (
        "import os, sys; sys.modules['fcntl'] = None; del os.sched_getaffinity; import ratespike, torch; "
        "print(ratespike.simulate(ratespike.load(sys.argv[1]), torch.rand(2, 1, 8, 8), 3).outputs.shape)"
    )
    done = clone.run(Place(), "-c", code, str(checkpoint))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([3, 2, 10])\n"
