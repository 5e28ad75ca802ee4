"""The page of MLflow on which runs are compared: a saved view of an experiment with the columns and charts that matter.

MLflow's page takes a view from a tag of the experiment, `mlflow.sharedViewState.<key>`, if its address says
`viewStateShareKey=<key>`, and lists it under "Views". The tag holds JSON with a name and the state of the page, which is JSON
again, deflated, in base64. This is what MLflow's own button for saving a view writes; it is documented nowhere. So
`tests/tracking/test_views.py` looks for each word that is used here in the installed front end, and fails when an upgrade of
MLflow changes it.
"""

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ratespike.analysis.runs import RATE_ACCURACY, SPIKING_ACCURACY, SPIKING_ACCURACY_AT
from ratespike.analysis.varying import told_apart_by
from ratespike.metrics import names
from ratespike.tracking.runs import Run, first_line
from ratespike.tracking.search import COMPARABLE, latest_parameters
from ratespike.tracking.sweeps import PARENT, SWEEP

VIEW = "mlflow.sharedViewState."  # tag of an experiment: a saved view, by its key
OF_EXPERIMENT = "ratespike"  # key of the view of all runs
OF_SWEEP = "ratespike-sweep-"  # before a sweep's hash: key of the view of its jobs
SWEEPS_KEPT = 30  # of an experiment: the views of older sweeps are deleted
GAP = f"test/{names.ACCURACY_GAP.name}"
OPERATIONS = f"test/{names.SYNAPTIC_OPERATIONS.name}"
OVER_PLAIN = f"test/{names.OPERATIONS_OVER_PLAIN.name}"
STEPS = "n_steps"

_MOST_SWEPT = 8  # columns of what differs between the runs
_LATEST = 100  # runs, as many as the page loads at once, say what differs in an experiment
_LONGEST = 5000  # characters of the tag: older servers keep no more, MLflow 3.17 keeps 20 000
_LONGEST_NAME = 80
_COMPRESSED = "deflate;"
_SECTION = "ratespike"
_LETTER = 5  # pixels of a column, for each letter of its full name
_LOCAL = "http://127.0.0.1:5000"  # where `mlflow ui` listens


@dataclass(frozen=True)
class View:
    """What a saved view shows.

    Attributes:
        key: of the view, in the address and in the tag's name.
        name: in MLflow's list of views.
        runs: the filter of the runs, as MLflow's search takes it.
        swept: full names of the parameters in which the runs differ.
    """

    key: str
    name: str
    runs: str
    swept: tuple[str, ...]

    def state(self) -> dict[str, Any]:
        """The state of the page; what it leaves out has MLflow's default."""
        parameters = [*(name for name in self.swept if name != STEPS), STEPS]
        columns = [f"params.`{name}`" for name in parameters]
        columns += [f"metrics.`{name}`" for name in (RATE_ACCURACY, SPIKING_ACCURACY, GAP, OPERATIONS, OVER_PLAIN)]
        return {
            "searchFilter": self.runs,
            "orderByKey": f"metrics.`{SPIKING_ACCURACY}`",
            "orderByAsc": False,
            "selectedColumns": columns,
            "columnOrder": columns,
            "columnWidths": {column: _LETTER * len(column) for column in columns},
            "runsHiddenMode": "SHOW_ALL",
            "compareRunCharts": _charts(parameters),
            "compareRunSections": [
                {"uuid": _SECTION, "name": "Rates against spikes", "display": True, "columns": 2, "cardHeight": 300}
            ],
            "isAccordionReordered": True,  # or the other sections, in alphabetical order, would stand above this one
        }


@dataclass(frozen=True)
class Pages:
    """Addresses of the page of runs.

    Attributes:
        charts: with the charts.
        table: with the columns.
    """

    charts: str
    table: str

    @classmethod
    def of(cls, tracking_uri: str, experiment_id: str, view: str | None) -> "Pages":
        """Those of an experiment, with a saved view if `view` is the key of one.

        Example:
            >>> print(Pages.of("http://localhost:8080", "7", "ratespike").table)
            http://localhost:8080/#/experiments/7/runs?viewStateShareKey=ratespike
        """
        page = f"{_server(tracking_uri)}/#/experiments/{experiment_id}/runs?"
        # without it MLflow 3.17 opens a page for traces in an experiment of which it does not know the kind
        words = [f"viewStateShareKey={view}"] if view else ["workflowType=machine_learning"]
        return cls(charts=page + "&".join([*words, "compareRunsMode=CHART"]), table=page + "&".join(words))

    @property
    def charts_on_server(self) -> str:
        """Of the page with the charts, for a link on another page of the server, whatever its address is."""
        return f"#{urlsplit(self.charts).fragment}"

    def __str__(self) -> str:
        return f"charts: {self.charts}\ntable:  {self.table}"


def keep_view_of_experiment(run: Run) -> Pages:
    """Save the view of a run's experiment; of its latest runs the columns say what differs.

    Args:
        run: any run of the experiment.

    Returns:
        Where it is; where the page without a view is, if the server keeps none.
    """
    experiment_id = run.client.get_run(run.id).info.experiment_id
    swept = told_apart_by(latest_parameters(run.client, experiment_id, _LATEST), _MOST_SWEPT)
    view = View(OF_EXPERIMENT, "ratespike: rates against spikes", COMPARABLE, tuple(swept))
    return _keep(run.client, experiment_id, view)


def where_it_is_shown(run: Run) -> str:
    """Save the view of a run's experiment, and say where it is; a store that is away by then costs nothing but the view."""
    try:
        return str(keep_view_of_experiment(run))
    except MlflowException as error:
        return f"MLflow's view of experiment {run.experiment} is not saved ({first_line(error)})"


def keep_view_of_sweep(parent: Run, jobs: Sequence[Mapping[str, str]]) -> Pages:
    """Save the view of a sweep, whose columns say what was swept.

    Args:
        parent: the sweep's run.
        jobs: the parameters of its jobs.

    Returns:
        Where it is; where the page without a view is, if the server keeps none.
    """
    found = parent.client.get_run(parent.id)
    sweep = found.data.tags[SWEEP]
    name = f"ratespike: {found.info.run_name}"[:_LONGEST_NAME]
    view = View(
        f"{OF_SWEEP}{sweep}",
        name,
        f"tags.`{SWEEP}` = '{sweep}' and tags.`{PARENT}` LIKE '%'",
        tuple(told_apart_by(jobs, _MOST_SWEPT)),
    )
    return _keep(parent.client, found.info.experiment_id, view)


def artifact_page(run: Run, path: str) -> str:
    """The address of the page that shows an artifact, for a link on another page of the server."""
    return f"#/experiments/{run.experiment_id}/runs/{run.id}/artifacts/{path}"


def _charts(parameters: Sequence[str]) -> list[dict[str, Any]]:
    """Accuracy over steps, accuracy against operations, and parallel coordinates."""
    line = {
        "metricKey": SPIKING_ACCURACY_AT,
        "selectedMetricKeys": [SPIKING_ACCURACY_AT],
        "xAxisKey": "step",
        "lineSmoothness": 0,
    }
    scatter = {"xaxis": {"key": OPERATIONS, "type": "METRIC"}, "yaxis": {"key": SPIKING_ACCURACY, "type": "METRIC"}}
    parallel = {
        "selectedParams": list(parameters),
        "selectedMetrics": [OPERATIONS, RATE_ACCURACY, SPIKING_ACCURACY],  # the last one has the colours
        "showAllRuns": True,
    }
    charts = []
    for kind, chart in (("LINE", line), ("SCATTER", scatter), ("PARALLEL", parallel)):
        charts.append({"type": kind, "uuid": f"{_SECTION}-{kind}", "metricSectionId": _SECTION, **chart})
    return charts


def _keep(client: MlflowClient, experiment_id: str, view: View) -> Pages:
    """Save a view, and delete those of old sweeps; the addresses of its page, or of the page without a view."""
    # Of two processes that save a new view in the same moment one is refused; the second time it finds the view saved.
    is_saved = _save(client, experiment_id, view) or _save(client, experiment_id, view)
    return Pages.of(client.tracking_uri, experiment_id, view.key if is_saved else None)


def _save(client: MlflowClient, experiment_id: str, view: View) -> bool:
    """Save a view unless it is saved already; whether the server lets this process do so."""
    tag = f"{VIEW}{view.key}"
    try:
        tags = client.get_experiment(experiment_id).tags
        value = _fitting(view, tags.get(tag, ""))
        if value != tags.get(tag):
            client.set_experiment_tag(experiment_id, tag, value)
    except MlflowException:
        return False
    for old in _old_sweeps(tags | {tag: value}):
        with suppress(MlflowException):  # another process has deleted it
            client.delete_experiment_tag(experiment_id, old)
    return True


def _fitting(view: View, present: str) -> str:
    """The value of a view's tag, with as many of the parameters as there is room for; `present` if that says the same."""
    created = _created(present) or time.time_ns() // 1_000_000
    swept = list(view.swept)
    while True:
        value = _tag_value(replace(view, swept=tuple(swept)), created)
        if len(value) <= _LONGEST:
            return value
        swept.pop()


def _tag_value(view: View, created: int) -> str:
    compressed = zlib.compress(json.dumps(view.state()).encode())
    state = f"{_COMPRESSED}{base64.b64encode(compressed).decode()}"
    return json.dumps({"name": view.name, "createdAt": created, "state": state})


def _created(tag_value: str) -> int:
    """When a view was saved, in milliseconds since 1970; 0 if the tag does not say."""
    try:
        return int(json.loads(tag_value)["createdAt"])
    except (ValueError, TypeError, KeyError):
        return 0


def _old_sweeps(tags: Mapping[str, str]) -> list[str]:
    """The tags of the sweeps' views but for the youngest ones."""
    sweeps = [tag for tag in tags if tag.startswith(f"{VIEW}{OF_SWEEP}")]
    youngest_first = sorted(sweeps, key=lambda tag: (_created(tags[tag]), tag), reverse=True)
    return youngest_first[SWEEPS_KEPT:]


def _server(tracking_uri: str) -> str:
    """The address of the tracking server's pages, without a password; of a database, that of `mlflow ui` on this host."""
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https"):
        return _LOCAL
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
