"""The pages in docs/ say what is so, and what they tell to do works."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from pages import GUIDES, PAGES, Guide, contract
from program import ROOT, query

# What a page may name. A path with a placeholder (`conf/<group>/`) is no path; one with a star stands for any file.
PATH = re.compile(r"(?<![\w/.-])(?:src|conf|docs|tests|benchmarks|experiments)/[\w./*<-]*[\w/*<]")
DOTTED = re.compile(r"(?<![\w/.-])ratespike(?:\.\w+)+")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(ROOT / "docs")
    import gallery

    return gallery


def test_the_gallery_is_the_one_that_the_neurons_make(gallery) -> None:  # type: ignore[no-untyped-def]
    options = gallery.neurons()
    made = gallery.page(options)
    assert (ROOT / "docs/neurons.md").read_text() == made, "the page is not up to date: run `python docs/gallery.py`"
    pictures = {path.stem for path in (ROOT / "docs/images/neurons").glob("*.png")}
    assert pictures == set(options), "a picture is missing or left over: run `python docs/gallery.py`"


def test_each_neuron_tells_its_rate_its_step_and_their_source() -> None:
    from ratespike.neurons import Neuron
    from ratespike.parameters import kinds

    for name, neuron in kinds(Neuron).items():
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
    drawn = re.findall(r"^([a-z]+(?:, [a-z]+)*)  ", picture, re.MULTILINE)
    assert drawn == [layer.replace(" | ", ", ") for layer in layers]


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


# Following a guide to the letter, in a copy of the repository: the guide's files, its commands, then everything that
# `make lint` and the tests above check, and a short use of the new thing.

TINY = ("+debug=fast", "data.train_images=200", "data.test_images=20", "n_steps=3")
LINT = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache")),
    ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
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


@pytest.mark.program
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_followed_to_the_letter_passes_all_checks_and_works(page: Path, tmp_path: Path) -> None:
    guide, copy = Guide.read(page), Copy(tmp_path)
    assert guide.files, f"{page.name} asks for no file"
    copy.write(guide.files)
    for command in guide.completing:
        copy.python(*command[1:])

    def check() -> None:
        for arguments in LINT:
            copy.python(*arguments)
        with_examples = [name for name in guide.files if name.endswith(".py")]
        copy.python("-m", "pytest", "tests/test_docs.py", *with_examples, "-m", "not program and not slow")

    with ThreadPoolExecutor(2) as pool:  # side by side, on two cores
        checked = pool.submit(check)
        used = pool.submit(USES.get(page.stem, trains), copy, guide)
    checked.result()
    used.result()


def trains(copy: Copy, guide: Guide) -> str:
    """The guide's last command that trains uses the new option, if there is one, on a slice of the data; what it prints."""
    assert guide.training is not None, "the guide shows no command that trains"
    printed = copy.python(*guide.training[1:], *TINY)
    assert query(copy.folder, "select distinct status from runs") == [("FINISHED",)]
    for name, text in guide.files.items():
        if name.endswith(".yaml"):
            group, option = Path(name).parent.name, yaml.safe_load(text)
            used = query(copy.folder, "select distinct value from params where key = ?", f"{group}.type")
            assert used == [(option["type"],)], f"no run used {name}"
    return printed


def a_neuron_fires_at_its_rate(copy: Copy, guide: Guide) -> None:
    """It is short, trains in a sweep, and from every start its spikes of a second are as many as its rate says."""
    (source,) = (text for name, text in guide.files.items() if name.endswith(".py"))
    code = re.sub(r'^ *""".*?"""\n', "", source, flags=re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) <= 40, "the example is long"
    trains(copy, guide)
    swept = query(copy.folder, "select value from params where key = 'neuron.tau_ref' order by value")
    assert swept == [("0.001",), ("0.004",)], "the sweep has not trained two networks"
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
    copy.python("-c", fires)


def a_metric_is_logged_and_shown(copy: Copy, guide: Guide) -> None:
    printed = trains(copy, guide)
    logged = {name for (name,) in query(copy.folder, "select distinct key from metrics")}
    for source in guide.files.values():
        (name,) = re.findall(r'^    name="(\w+)"', source, re.MULTILINE)
        (label,) = re.findall(r'^    label="(.+)"', source, re.MULTILINE)
        assert {f"test/{name}", f"val/{name}"} <= logged, f"{name} is not logged"
        assert label in printed, f"{name} is not in the table of the run"


def a_figure_is_kept(copy: Copy, guide: Guide) -> None:
    trains(copy, guide)
    for name in guide.files:
        assert any(copy.folder.glob(f"mlruns/**/figures/{Path(name).stem}.png")), f"the run has no figure of {name}"


USES = {
    "adding_a_neuron": a_neuron_fires_at_its_rate,
    "adding_a_metric": a_metric_is_logged_and_shown,
    "adding_a_figure": a_figure_is_kept,
}  # of others: `trains`
