"""Names of strangers, of classes and experiments, stay text in every file that the programs write, and in their folder."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import ROOT, query, run, run_ids

pytestmark = pytest.mark.system

CLASSES = ("=1+1", "<script>alert(1)</script>", "../../out", "|[x](javascript:alert(1))", "+cmd|' /C calc'!A0", "[bold]@SUM(1)")
EXPERIMENT = "<img src=x onerror=alert(1)>"
SETTINGS = (
    *("data=npz", "network=pool3", "trainer.max_epochs=1", "n_steps=2", "data.batch_size=20"),
    *("trainer.accelerator=cpu", f"tracking.experiment='{EXPERIMENT}'"),
)


class Elements(HTMLParser):
    """The elements of a page that could run something, and attributes that do."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        outside = [name for name, value in attrs if name.startswith("on") or "javascript:" in str(value)]
        if outside or tag in ("script", "iframe", "object", "a"):
            self.found.append(f"<{tag} {attrs}>")


@pytest.fixture(scope="module")
def written(checkout: Path) -> Path:
    """A checkout in which each program has written what it writes about a data set with such classes."""
    labels = np.arange(240) % len(CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 16, 16), np.uint8)
    np.savez_compressed(checkout / "some.npz", images=images, labels=labels, class_names=np.array(CLASSES))
    (checkout / "pictures").mkdir()
    Image.fromarray(images[0]).save(checkout / "pictures" / "=1+1.png")
    for program, *arguments in (
        ("train.py", "-m", *SETTINGS, f"data.dir={checkout}/some.npz", "seed=0,1"),
        ("predict.py", f"images={checkout}/pictures"),
        ("diagnose.py", "images=20"),
        ("compare.py",),
    ):
        trained = [f"run={run_ids(checkout)[-1]}"] if program in ("predict.py", "diagnose.py") else []
        code, out, error = run(checkout, *trained, *arguments, program=program)
        assert code == 0, (program, out, error)
    return checkout


def files(folder: Path, ending: str) -> list[Path]:
    found = [path for name in ("outputs", "mlruns") for path in (folder / name).rglob(f"*.{ending}")]
    assert found, f"no file of this kind was written: {ending}"
    return found


def test_no_cell_of_a_csv_file_is_a_formula(written: Path) -> None:
    cells = 0
    for path in files(written, "csv"):
        for row in csv.reader(path.read_text().splitlines()):
            for cell in row:
                cells += 1
                assert not re.match(r"[=+@\t\r]|-(?![\d.])", cell), (path, cell)
    print(f"\n{cells} cells")


def test_no_page_runs_anything(written: Path) -> None:
    for path in files(written, "html"):
        assert Elements(path.read_text()).found == [], path


def test_no_markdown_has_a_tag_or_a_foreign_link(written: Path) -> None:
    texts = {str(path): path.read_text() for path in files(written, "md")}
    notes = query(written, "select run_uuid, value from tags where key = 'mlflow.note.content'")
    texts |= {str(run_id): str(note) for run_id, note in notes}
    for where, text in texts.items():
        outside_code = re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
        assert not re.search(r"<(script|img)|(?<!\\)\]\(javascript", outside_code), (where, outside_code)


def test_nothing_is_written_elsewhere(written: Path) -> None:
    programs = {path.name for path in (*ROOT.glob("*.py"), ROOT / "tests/train_held.py")}
    mine = {"conf", "data", "tmp", "some.npz", "pictures", "mlflow.db", "mlflow.db.lock", "mlruns", "outputs"}
    assert {path.name for path in written.iterdir()} <= programs | mine
    assert [path.name for path in (written / "mlruns").iterdir()] == [EXPERIMENT]
