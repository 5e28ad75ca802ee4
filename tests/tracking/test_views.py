"""Saved views, read as MLflow's front end reads them; and that the installed front end still has the words that they use."""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow.server
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.tracking import store, views
from ratespike.tracking.runs import Client, Run
from ratespike.tracking.sweeps import PARENT, SWEEP

CURVE, RATES, SPIKES = "test/spiking_accuracy_at", "test/rate_accuracy", "test/spiking_accuracy"
GAP, OPERATIONS, OVER_PLAIN = "test/accuracy_gap", "test/synaptic_operations", "test/operations_over_plain"
JOBS = [{"neuron.tau_rc": tau, "seed": seed, "n_steps": "30"} for tau in ("0.01", "0.02") for seed in ("0", "1")]


@pytest.fixture
def parent(client: Client, request: pytest.FixtureRequest) -> Run:
    """The parent run of a sweep, in an experiment of the test's own."""
    return store.open_run(client, request.node.name, "sweep tau_rc=0.01,0.02", {SWEEP: "abc"})


def tags(run: Run) -> dict[str, str]:
    """The saved views of a run's experiment, by key."""
    found = run.client.get_experiment_by_name(run.experiment).tags.items()
    return {tag.removeprefix("mlflow.sharedViewState."): value for tag, value in found if "sharedViewState" in tag}


def opened(value: str) -> tuple[str, dict[str, Any]]:
    """The name and the page's state of a view, as the front end decodes its tag."""
    envelope = json.loads(value)
    assert isinstance(envelope["createdAt"], int)
    return envelope["name"], json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))


def test_the_view_of_a_sweep_has_its_jobs_with_what_was_swept_and_three_charts(parent: Run) -> None:
    views.keep_view_of_sweep(parent, JOBS)
    name, state = opened(tags(parent)["ratespike-sweep-abc"])
    assert name == "ratespike: sweep tau_rc=0.01,0.02"
    swept, measured = ["neuron.tau_rc", "seed", "n_steps"], [RATES, SPIKES, GAP, OPERATIONS, OVER_PLAIN]
    columns = [*(f"params.`{name}`" for name in swept), *(f"metrics.`{name}`" for name in measured)]
    assert state["selectedColumns"] == columns
    line, scatter, parallel = state["compareRunCharts"]
    assert (line["type"], line["metricKey"], line["xAxisKey"]) == ("LINE", CURVE, "step")
    assert (parallel["type"], parallel["selectedParams"]) == ("PARALLEL", swept)
    assert parallel["selectedMetrics"] == [OPERATIONS, RATES, SPIKES]
    assert (scatter["type"], scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == ("SCATTER", OPERATIONS, SPIKES)
    assert {chart["metricSectionId"] for chart in (line, parallel, scatter)} == {state["compareRunSections"][0]["uuid"]}


def test_the_filter_of_a_sweep_finds_its_jobs(parent: Run) -> None:
    job = store.open_run(parent.client, parent.experiment, "job", {SWEEP: "abc", PARENT: parent.id})
    store.open_run(parent.client, parent.experiment, "of another sweep", {SWEEP: "def"})
    views.keep_view_of_sweep(parent, JOBS)
    _, state = opened(tags(parent)["ratespike-sweep-abc"])
    experiment = parent.client.get_experiment_by_name(parent.experiment).experiment_id
    found = parent.client.search_runs([experiment], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"])
    assert [run.info.run_id for run in found] == [job.id]


def test_the_view_of_an_experiment_says_what_differs_between_its_finished_runs(parent: Run) -> None:
    from mlflow.entities import Metric, Param

    for settings in JOBS:
        run = store.open_run(parent.client, parent.experiment, "run", {})
        metrics = [Metric(name, 0.5, 0, 0) for name in (RATES, SPIKES)]
        parent.client.log_batch(run.id, metrics, [Param(*item) for item in settings.items()])
        parent.client.set_terminated(run.id)
    views.keep_view_of_experiment(parent)
    _, state = opened(tags(parent)["ratespike"])
    parameters = [column for column in state["selectedColumns"] if column.startswith("params")]
    assert parameters == ["params.`neuron.tau_rc`", "params.`seed`", "params.`n_steps`"]
    experiment = parent.client.get_experiment_by_name(parent.experiment).experiment_id
    found = parent.client.search_runs([experiment], state["searchFilter"])
    assert len(found) == len(JOBS), "the parent is no run to compare"


def test_a_view_is_written_again_when_it_has_changed_and_only_then(parent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = views.keep_view_of_sweep(parent, JOBS)
    before = tags(parent)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_experiment_tag", None)
        assert views.keep_view_of_sweep(parent, JOBS) == first
    views.keep_view_of_sweep(parent, JOBS[:2])
    assert tags(parent).keys() == before.keys()
    assert opened(tags(parent)["ratespike-sweep-abc"]) != opened(before["ratespike-sweep-abc"])


def test_an_experiment_keeps_the_views_of_its_latest_sweeps(parent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "SWEEPS_KEPT", 2)
    experiment = parent.client.get_experiment_by_name(parent.experiment).experiment_id
    parent.client.set_experiment_tag(experiment, "mlflow.sharedViewState.mine", "somebody's own")
    for sweep in ("first", "second", "third"):
        views.keep_view_of_sweep(store.open_run(parent.client, parent.experiment, sweep, {SWEEP: sweep}), JOBS)
    assert tags(parent).keys() == {"mine", "ratespike-sweep-second", "ratespike-sweep-third"}


def test_processes_that_save_a_view_at_the_same_time_all_have_it(parent: Run) -> None:
    with ThreadPoolExecutor(8) as pool:
        pages = set(pool.map(lambda _: views.keep_view_of_sweep(parent, JOBS), range(16)))
    assert len(pages) == 1
    assert "viewStateShareKey=ratespike-sweep-abc" in pages.pop().table
    assert tags(parent).keys() == {"ratespike-sweep-abc"}


def test_a_server_that_refuses_tags_has_the_page_without_a_view(parent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("Permission denied")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    for pages in (views.keep_view_of_sweep(parent, JOBS), views.keep_view_of_experiment(parent)):
        assert "viewStateShareKey" not in pages.charts + pages.table
        assert pages.table.endswith("/runs?workflowType=machine_learning")


def test_a_view_of_too_many_long_names_has_fewer_columns(parent: Run) -> None:
    long_names = [base64.b64encode(bytes(range(number, 180 + number))).decode()[:240] for number in range(0, 56, 7)]
    jobs = [{name: str(index * number) for number, name in enumerate(long_names, 1)} for index in range(1, 3)]
    jobs[0][long_names[0]] = "2"
    views.keep_view_of_sweep(parent, jobs)
    value = tags(parent)["ratespike-sweep-abc"]
    assert len(value) <= 5000, "older servers keep no more"
    assert f"metrics.`{SPIKES}`" in opened(value)[1]["selectedColumns"]


@pytest.mark.parametrize(
    ("tracking_uri", "page"),
    [
        ("sqlite:////project/mlflow.db", "http://127.0.0.1:5000/#/experiments/7/runs?"),
        ("https://me:secret@host:8080/mlflow/", "https://host:8080/mlflow/#/experiments/7/runs?"),
    ],
)
def test_the_address_is_that_of_the_server_and_has_no_password(tracking_uri: str, page: str) -> None:
    pages = views.Pages.of(tracking_uri, "7", "ratespike")
    assert pages.table == f"{page}viewStateShareKey=ratespike"
    assert pages.charts == f"{page}viewStateShareKey=ratespike&compareRunsMode=CHART"


@pytest.fixture(scope="module")
def front_end() -> str:
    """All programs of the installed MLflow's pages."""
    folder = Path(mlflow.server.__file__).parent / "js/build/static/js"
    return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.js")))


def words_of(value: Any) -> Iterator[str]:
    """The keys in nested values."""
    for item in value if isinstance(value, list) else []:
        yield from words_of(item)
    for key, item in value.items() if isinstance(value, dict) else []:
        yield key
        yield from words_of(item)


@pytest.mark.slow
def test_the_installed_front_end_has_the_words_of_a_view(front_end: str) -> None:
    state = views.View("ratespike", "name", "", ("seed",)).state()
    assert set(state.pop("columnWidths")) == set(state["columnOrder"])
    for word in ("mlflow.sharedViewState.", "viewStateShareKey", "compareRunsMode", "deflate;"):
        assert f'"{word}"' in front_end, f"MLflow has changed {word}"
    (of_page,) = set(re.findall(r'\["selectedColumns","columnOrder"[^\]]*\]', front_end))
    (of_filter,) = set(re.findall(r'\["searchFilter","orderByKey"[^\]]*\]', front_end))
    assert {*state, "columnWidths"} <= set(json.loads(of_page)) | set(json.loads(of_filter))
    for own in re.findall(r'\["runsExpanded",[^\]]*\]', front_end):  # what a saved view may not set
        assert not state.keys() & set(json.loads(own))
    for kind in ("LINE", "PARALLEL", "SCATTER"):
        assert f'.{kind}="{kind}"' in front_end
    assert f'.SHOWALL="{state["runsHiddenMode"]}"' in front_end
    assert '.STEP="step"' in front_end
    for word in {*words_of(state), "name", "createdAt", "state"}:
        assert re.search(rf"\b{word}\b", front_end), f"MLflow's pages know no {word}"
