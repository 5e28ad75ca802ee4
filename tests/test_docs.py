"""The pages in docs/ say what is so, and what they tell to do works."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from pages import GUIDES, PAGES, Guide, contract, python_blocks
from program import ROOT, SMALL, query

# What a page may name. A path with a placeholder (`conf/<group>/`) is no path; one with a star stands for any file.
PATH = re.compile(r"(?<![\w/.-])(?:src|conf|docs|tests|benchmarks|experiments)/[\w./*<-]*[\w/*<]")
DOTTED = re.compile(r"(?<![\w/.-])ratespike(?:\.\w+)+")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(ROOT / "docs")
    import gallery

    return gallery


@pytest.mark.slow
def test_the_gallery_is_the_one_that_the_neurons_make(gallery) -> None:  # type: ignore[no-untyped-def]
    options = gallery.neurons()
    made = gallery.page(options)
    assert (ROOT / "docs/neurons.md").read_text() == made, "the page is not up to date: run `python docs/gallery.py`"
    pictures = {path.stem for path in (ROOT / "docs/images/neurons").glob("*.png")}
    assert pictures == set(options), "a picture is missing or left over: run `python docs/gallery.py`"


def test_each_neuron_tells_its_rate_its_step_and_their_source() -> None:
    from ratespike.neurons import Neuron
    from ratespike.parameters import kinds

    own = {name: neuron for name, neuron in kinds(Neuron).items() if neuron.__module__.startswith("ratespike.")}
    assert "LIF" in own
    for name, neuron in own.items():
        for section in ("\n    Rate: ", "\n    Step: ", "\n    Source: ", "\n        >>> "):
            assert section in (neuron.__doc__ or ""), f"{name} has no {section.strip()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_python_name_on_a_page_exists(page: Path) -> None:
    text = page.read_text()
    to_be_written = Guide.read(page).files
    paths = {path for path in PATH.findall(text) if "<" not in path and path not in to_be_written}
    missing = [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]
    assert not missing, f"{page.name} names paths that do not exist: {missing}"
    names = set(DOTTED.findall(text)) - set(contract()["Tags"])
    unknown = [name for name in names if not _is_importable(name)]
    assert not unknown, f"{page.name} names Python objects that do not exist: {unknown}"


def _is_importable(dotted: str) -> bool:
    """Whether a dotted name is a module, or something that can be reached from one."""
    try:
        _resolve(dotted)
    except (ImportError, AttributeError):
        return False
    return True


def _resolve(dotted: str) -> object:
    """The module or object of a dotted name."""
    module, *rest = dotted.split(".")
    found: object = importlib.import_module(module)
    for word in rest:
        module = f"{module}.{word}"
        if not hasattr(found, word):
            importlib.import_module(module)  # a module that nobody has imported yet
        found = getattr(found, word)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link} leads to no file"
        assert not anchor or anchor in _anchors(target), f"{page.name}: {link} leads to no heading"


def _anchors(page: Path) -> set[str]:
    """The anchors that Markdown viewers make of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda page: page.stem)
def test_a_guide_is_found_from_the_page_on_architecture(guide: Path) -> None:
    assert f"({guide.name})" in (ROOT / "docs/architecture.md").read_text()


def test_the_picture_of_the_storeys_is_the_one_that_lint_checks() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    picture = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    drawn = re.findall(r"^([a-z_]+(?:, [a-z_]+)*)  ", picture, re.MULTILINE)
    assert drawn == [layer.replace(" | ", ", ") for layer in layers]


@pytest.mark.slow
def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(example, {})
    assert re.fullmatch(r"\{'1': \d+\.\d+\}\n", capsys.readouterr().out)


@pytest.mark.slow
def test_the_page_on_networks_of_ones_own_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/your_own_network.md").read_text(), re.DOTALL))
    exec(code, {"__name__": "your_own_network"})
    printed = capsys.readouterr().out
    (rate_accuracy,) = re.findall(r"first 200 test images: (\S+) on rates", printed)
    by_steps = {int(steps): float(value) for value, steps in re.findall(r"(\S+) after (\d+) steps", printed)}
    assert float(rate_accuracy) > 0.9, "the network has not learned"
    assert by_steps[32] > float(rate_accuracy) - 0.03 and by_steps[32] > by_steps[2]


@pytest.mark.slow
def test_the_page_on_lost_accuracy_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(python_blocks(ROOT / "docs/why_accuracy_falls.md"))
    exec(code, {"__name__": "why_accuracy_falls"})
    printed = capsys.readouterr().out
    assert "| output |" in printed and "try " in printed
    assert (tmp_path / "diagnosis.png").stat().st_size > 0


# Following the guides to the letter, all in one copy of the repository: their files, their commands, then everything that
# `make lint` and the tests above check, and a short use of each new thing.

NEURON_GUIDE = ROOT / "docs/adding_a_neuron.md"
TINY = (*(argument for argument in SMALL if argument != "tracking.experiment=mnist"), "n_steps=3")
LINT = (
    pytest.param(("-m", "ruff", "check", "."), id="ruff"),
    pytest.param(("-m", "ruff", "format", "--check", "."), id="format"),
    pytest.param(("-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache")), id="mypy", marks=pytest.mark.system),
    pytest.param(("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"), id="imports"),
)


class Copy:
    """A copy of the repository's files, those that are not committed yet among them."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in _files_of_the_repository():
            _copy(ROOT / name, folder / name)
        for machine_code in (ROOT / "src").rglob("*.nb[ic]"):  # Numba finds it by the source's time, which a copy keeps
            _copy(machine_code, folder / machine_code.relative_to(ROOT))

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            assert not path.exists(), f"{name} exists already"
            path.write_text(text)

    def python(self, *arguments: str) -> str:
        """Run Python in the copy, on one core; the output."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "HYDRA"))}
        environment |= {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, text=True, capture_output=True, timeout=900)
        assert done.returncode == 0, f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}"
        return done.stdout


def _files_of_the_repository() -> Iterator[str]:
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, text=True, capture_output=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            yield name


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the repository in which all guides were followed."""
    copy = Copy(tmp_path_factory.mktemp("repository"))
    for page in GUIDES:
        guide = Guide.read(page)
        assert guide.files, f"{page.name} asks for no file"
        copy.write(guide.files)
        for command in guide.completing:
            copy.python(*command[1:])
    return copy


@pytest.fixture(scope="module")
def trained(followed: Copy) -> Iterator[Future[str]]:
    """What a training on the guide's data set prints; it is done beside the checks, on the other core."""
    command = Guide.read(ROOT / "docs/adding_a_data_set.md").training
    assert command is not None, "the guide shows no command that trains"
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(followed.python, *command[1:], *TINY)


@pytest.mark.program
@pytest.mark.parametrize("arguments", LINT)
def test_what_the_guides_add_passes_lint(arguments: tuple[str, ...], followed: Copy, trained: Future[str]) -> None:
    followed.python(*arguments)


@pytest.mark.program
def test_what_the_guides_add_passes_the_checks_of_the_pages(followed: Copy, trained: Future[str]) -> None:
    """And its examples run."""
    with_examples = [name for page in GUIDES for name in Guide.read(page).files if name.endswith(".py")]
    followed.python("-m", "pytest", "tests/test_docs.py", *with_examples, "-m", "not program and not slow and not system")


@pytest.mark.program
def test_the_guides_data_set_trains(followed: Copy, trained: Future[str]) -> None:
    trained.result()
    assert query(followed.folder, "select distinct status from runs") == [("FINISHED",)]
    used = query(followed.folder, "select distinct value from params where key = 'data.type'")
    assert used == [("Bars",)], "no run used the data set"


@pytest.mark.program
def test_the_guides_metrics_are_logged_and_shown(followed: Copy, trained: Future[str]) -> None:
    printed = trained.result()
    logged = {name for (name,) in query(followed.folder, "select distinct key from metrics")}
    sources = Guide.read(ROOT / "docs/adding_a_metric.md").files.values()
    assert sources
    for source in sources:
        (name,) = re.findall(r'^    name="(\w+)"', source, re.MULTILINE)
        (label,) = re.findall(r'^    label="(.+)"', source, re.MULTILINE)
        assert {f"test/{name}", f"val/{name}"} <= logged, f"{name} is not logged"
        assert label in printed, f"{name} is not in the table of the run"


@pytest.mark.program
def test_the_guides_figure_is_kept(followed: Copy, trained: Future[str]) -> None:
    trained.result()
    for name in Guide.read(ROOT / "docs/adding_a_figure.md").files:
        assert any(followed.folder.glob(f"mlruns/**/figures/{Path(name).stem}.png")), f"the run has no figure of {name}"


@pytest.mark.program
def test_the_guides_neuron_is_short_and_fires_at_its_rate(followed: Copy) -> None:
    """From every start its spikes of a second are as many as its rate says."""
    (source,) = (text for name, text in Guide.read(NEURON_GUIDE).files.items() if name.endswith(".py"))
    code = re.sub(r'^ *""".*?"""\n', "", source, flags=re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) <= 40, "the example is long"
    fires = """
import torch
from ratespike import simulate
from ratespike.neurons import Neuron
from ratespike.parameters import build
neuron = build(Neuron, {"type": "RestingIntegrateAndFire"}, "neuron")
rates = torch.tensor([5.0, 31.0, 120.0, 300.0], dtype=torch.float64)
x = torch.tensor([neuron.current_for(float(rate)) for rate in rates], dtype=torch.float64) / neuron.gain_and_bias()[0]
for start in ("zero", "uniform", "half", "steady_phase"):
    counts = simulate(torch.nn.Sequential(neuron), x[None], 1000, start=start, record=["0"]).recordings["0"].sum(0)[0]
    assert ((counts - rates).abs() <= 1 + 1e-6).all(), (start, counts)
"""
    followed.python("-c", fires)


@pytest.mark.system
def test_the_guides_neuron_trains_in_a_sweep(followed: Copy, trained: Future[str]) -> None:
    trained.result()  # one program at a time in its folder
    command = Guide.read(NEURON_GUIDE).training
    assert command is not None, "the guide shows no command that trains"
    followed.python(*command[1:], *TINY)
    of_neuron = "select value from params where key = 'neuron.{}' and run_uuid in ({}) order by value"
    runs = "select run_uuid from params where key = 'neuron.type' and value = 'RestingIntegrateAndFire'"
    assert query(followed.folder, of_neuron.format("tau_ref", runs)) == [("0.001",), ("0.004",)]
    assert query(followed.folder, "select distinct status from runs") == [("FINISHED",)]
