"""The addresses that a sweep prints, opened in a browser; and the page that says how the data leave MLflow, followed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import python_blocks
from program import ROOT, SMALL, free_port, query, run, wait_until
from services import found, listens, service

pytestmark = pytest.mark.system

JOBS = ("-m", *SMALL, "neuron.tau_rc=0.01,0.02", "seed=0,1", "n_steps=3,6")
N_JOBS = 8
MEASURED = ("rate_accuracy", "spiking_accuracy", "accuracy_gap", "synaptic_operations", "operations_over_plain")


@pytest.fixture(scope="module")
def swept(checkout: Path) -> tuple[Path, str]:
    """A checkout in which a sweep was done, and what that printed."""
    code, out, error = run(checkout, *JOBS)
    assert code == 0, error
    return checkout, out


@pytest.fixture(scope="module")
def server(swept: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's pages of that checkout."""
    folder, _ = swept
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
    ]
    log = tmp_path_factory.mktemp("server") / "log"
    with service(command, log, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}) as process:
        wait_until(lambda: listens(port), process)
        yield f"http://127.0.0.1:{port}"


def opened(address: str, folder: Path) -> str:
    """The page as a browser shows it, in HTML."""
    command = [
        *(found("chromium", "chromium"), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"),
        *("--window-size=2600,1400", "--virtual-time-budget=60000", "--dump-dom", address),
    ]
    return subprocess.run(command, text=True, capture_output=True, check=True, timeout=300).stdout


def printed(swept: tuple[Path, str], name: str, server: str) -> str:
    """The address that the sweep printed, of the server that runs now."""
    _, out = swept
    (address,) = re.findall(rf"^{name}: +(\S+)$", out, re.MULTILINE)
    assert address.startswith("http://127.0.0.1:5000/#/")
    return address.replace("http://127.0.0.1:5000", server)


def test_the_printed_address_of_the_table_shows_what_was_swept_and_measured(
    swept: tuple[Path, str], server: str, tmp_path: Path
) -> None:
    page = opened(printed(swept, "table", server), tmp_path)
    columns = set(re.findall(r'col-id="((?:params|metrics)\.[^"]+)"', page))
    parameters = {f"params.`{name}`" for name in ("neuron.tau_rc", "seed", "n_steps")}
    assert columns == parameters | {f"metrics.`test/{name}`" for name in MEASURED}
    for tau_rc in ("0.01", "0.02"):
        for n_steps in (3, 6):
            assert f">tau_rc={tau_rc} seed=1 n_steps={n_steps}<" in page
    assert f"<strong>{N_JOBS}</strong> matching runs" in page, "the parent is no job"


def test_the_printed_address_of_the_charts_shows_three_with_their_data(
    swept: tuple[Path, str], server: str, tmp_path: Path
) -> None:
    page = opened(printed(swept, "charts", server), tmp_path)
    section = page.partition("Rates against spikes")[2]
    for title in (
        *("test/spiking_accuracy_at", "test/synaptic_operations vs. test/spiking_accuracy"),
        "Parallel Coordinates",
    ):
        assert f">{title}<" in section, f"no chart {title}"
    axes = re.findall(r'<text[^>]*class="label"[^>]*>([^<]*)', section)  # long names are cut in the middle
    assert axes[:3] == ["neuron.tau_rc", "seed", "n_steps"]
    assert len(axes) == 6
    assert section.count('class="trace scatter') >= N_JOBS + 1, "a line for each job, and the points"


def test_the_page_of_the_parent_leads_to_the_charts_and_the_report(
    swept: tuple[Path, str], server: str, tmp_path: Path
) -> None:
    folder, _ = swept
    ((parent, experiment),) = query(folder, "select run_uuid, experiment_id from runs where name like 'sweep %'")
    page = opened(f"{server}/#/experiments/{experiment}/runs/{parent}", tmp_path)
    charts = printed(swept, "charts", "").replace("&", "&amp;").removeprefix("/")
    report = f"#/experiments/{experiment}/runs/{parent}/artifacts/report.html"
    assert f'href="{charts}"' in page
    assert f'href="{report}"' in page
    assert re.search(r'<iframe[^>]*sandbox="allow-scripts"', opened(f"{server}/{report}", tmp_path)), "MLflow does not show it"


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_what_the_page_on_tracking_says_of_other_trackers_works(
    package: str, swept: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In the environment of the tests with the package behind it, so that no version in it changes."""
    folder, _ = swept
    behind = tmp_path_factory.mktemp(package)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", behind, package]
    if subprocess.run(install, capture_output=True).returncode != 0:
        pytest.skip(f"{package} cannot be installed here")
    blocks = python_blocks(ROOT / "docs/tracking.md")
    (block,) = (block for block in blocks if {"tensorboard": "SummaryWriter(", "wandb": "wandb.init("}[package] in block)
    code = "\n".join([f"import sys; sys.path.append({str(behind)!r})", blocks[0], block])
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = {"tensorboard": "tensorboard/*/events.out.tfevents.*", "wandb": "wandb/offline-run-*/*.wandb"}[package]
    (file,) = folder.glob(written)
    assert b"test/spiking_accuracy_at" in file.read_bytes()
