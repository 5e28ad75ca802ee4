"""A metric is defined once and appears everywhere; `added_metrics` are two that nothing but their own files knows."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from ratespike.analysis import Record, report, terminal
from ratespike.metrics import Results, added, names
from ratespike.parameters import ParameterError
from ratespike.pipeline.summary import summary
from ratespike.sweeps.objective import objectives

WORST_CLASS = """
from ratespike.metrics.metric import PERCENT, Metric

def worst_class(results):
    counts = results.confusion[-1].double()
    return float((counts.diagonal() / counts.sum(dim=1)).min())

WORST_CLASS = Metric(
    name="worst_class_accuracy", label="worst class", unit=PERCENT, more_is_better=True, compute=worst_class, over_steps=True
)
"""
LOSS_ON_SPIKES = '''
from ratespike.metrics.metric import Metric, Unit

def loss(rates, spikes, labels):
    """(time, batch)"""
    import torch
    outputs = spikes.outputs  # (time, batch, classes)
    return torch.nn.functional.cross_entropy(outputs.movedim(-1, 1), labels.expand(len(outputs), -1), reduction="none")

LOSS_ON_SPIKES = Metric(
    name="spiking_loss",
    label="loss on spikes",
    unit=Unit("nat", decimals=3),
    more_is_better=False,
    compute=lambda results: float(results.image_means["spiking_loss"][-1]),
    of_each_image=loss,
)
'''


@pytest.fixture
def added_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`metrics/added/` with two files in it."""
    (tmp_path / "worst_class.py").write_text(WORST_CLASS)
    (tmp_path / "loss_on_spikes.py").write_text(LOSS_ON_SPIKES)
    monkeypatch.setattr(added, "__path__", [str(tmp_path)])
    names.metrics.cache_clear()
    yield
    names.metrics.cache_clear()
    for name in ("worst_class", "loss_on_spikes"):
        sys.modules.pop(f"{added.__name__}.{name}", None)


def table_of_a_run(results: Results, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The printed rows: values by label."""
    run = SimpleNamespace(id="0", name="run", experiment="mnist", metric=lambda name: None)
    summary(results, run, None, is_slice=False)  # type: ignore[arg-type]
    rows = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return {label.strip(): value.strip() for label, value in rows}


def test_the_table_of_a_run(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    assert table_of_a_run(results, capsys) == {
        "rate accuracy": "90.00 %",
        "spiking accuracy, 1 step": "60.00 %",
        "spiking accuracy, 2 steps": "80.00 %",
        "gap (rate - spiking)": "10.00 points",
        "agreement of rates and spikes": "90.00 %",
        "firing rate, neuron1": "200.0 Hz",
        "synaptic operations an image": "3.00 million",
    }


def test_the_table_of_a_run_with_an_early_exit_and_first_images(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    early = replace(
        results,
        running=torch.tensor([1.0, 0.5]),
        first=1000,
        first_rate_accuracy=0.8,
        first_spiking_accuracy=torch.tensor([0.1, 0.7]),
    )
    rows = table_of_a_run(early, capsys)
    assert rows["steps until an early exit, mean"] == "1.5"
    assert rows["first 1000 images: rate accuracy"] == "80.00 %"
    assert rows["first 1000 images: spiking accuracy"] == "70.00 %"


def test_the_table_of_a_run_has_balanced_accuracies_if_classes_are_unequal(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    unequal = replace(
        results, rate_confusion=torch.tensor([[8, 0], [1, 1]]), confusion=torch.tensor([[[8, 0], [2, 0]], [[6, 2], [2, 0]]])
    )
    rows = table_of_a_run(unequal, capsys)
    assert rows["balanced accuracy, rates"] == "75.00 %"
    assert rows["balanced accuracy, spikes"] == "37.50 %"


def test_results_that_were_kept_before_rates_had_a_confusion_matrix(results: Results) -> None:
    arrays = results.arrays()
    del arrays["rate_confusion"]
    older = names.final(Results.from_arrays(arrays))
    now = names.final(results)
    assert now.pop("rate_balanced_accuracy") == pytest.approx(0.9)
    assert older == now


def test_two_metrics_of_one_name_are_refused(added_metrics: None) -> None:
    (path,) = added.__path__
    (Path(path) / "worst_class.py").write_text(WORST_CLASS.replace("worst_class_accuracy", "agreement"))
    with pytest.raises(ValueError, match="two metrics are called agreement"):
        names.metrics()


def test_an_added_metric_is_logged(added_metrics: None, results: Results) -> None:
    built_in = ["rate_accuracy", "spiking_accuracy", "accuracy_gap", "rate_balanced_accuracy", "spiking_balanced_accuracy"]
    built_in += ["agreement", "mean_steps", "firing_rate_hz/neuron1", "synaptic_operations"]
    final = names.final(results)
    assert list(final) == [*built_in, "spiking_loss", "worst_class_accuracy"]
    assert final["worst_class_accuracy"] == pytest.approx(0.6)
    assert names.after_fewer_steps(results) == pytest.approx(
        {"spiking_accuracy_after/1_steps": 0.6, "worst_class_accuracy_after/1_steps": 0.2}
    )


def test_an_added_metric_is_in_the_table_of_a_run(
    added_metrics: None, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table_of_a_run(results, capsys)
    assert rows["worst class, 1 step"] == "20.00 %"
    assert rows["worst class, 2 steps"] == "60.00 %"
    assert rows["loss on spikes"] == "0.500 nat"


@pytest.fixture
def records(make_run: Callable[..., Record]) -> list[Record]:
    """Two runs that measured the added metrics, and one from before."""
    measured = []
    for run, loss in ((make_run(0.9, tau=1), 0.5), (make_run(0.8, tau=2), 0.25)):
        own = {"test/worst_class_accuracy": 0.7, "test/worst_class_accuracy_after/5_steps": 0.6, "test/spiking_loss": loss}
        measured.append(replace(run, metrics={**run.metrics, **own}))
    return [*measured, make_run(0.7, tau=3)]


def test_an_added_metric_is_compared(
    added_metrics: None, records: list[Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(records, [5], read_curve=lambda run: {5: 0.4})
    lines = found.markdown.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    best = dict(zip(table[0], table[2], strict=True))
    assert best["worst class, 5 steps (%)"] == "60.00"
    assert best["worst class, 30 steps (%)"] == "70.00"
    assert best["loss on spikes (nat)"] == "0.500"
    assert dict(zip(table[0], table[4], strict=True))["loss on spikes (nat)"] == "", "a run from before has no value"
    assert "- higher is better: rates, spikes, worst class" in lines
    assert "- lower is better: gap, synaptic operations an image, loss on spikes" in lines
    rows = list(csv.DictReader(io.StringIO(found.csv)))
    assert [row["spiking_loss"] for row in rows] == ["0.5", "0.25", ""]
    monkeypatch.setenv("COLUMNS", "200")
    terminal.show(found.comparison, [5], rows=3)
    printed = capsys.readouterr().out
    assert "0.500" in printed
    assert "(nat)" in printed


def test_an_added_metric_can_be_an_objective(added_metrics: None) -> None:
    upwards = OmegaConf.create({"direction": "maximize"})
    (goal,) = objectives("val/worst_class_accuracy", upwards)
    assert goal.maximize
    with pytest.raises(ParameterError, match=r"val/spiking_loss: .*=maximize looks for the worst; give minimize"):
        objectives("val/spiking_loss", upwards)
    with pytest.raises(ParameterError, match="did you mean val/spiking_loss"):
        objectives("val/spiking_los", upwards)


def test_the_mean_over_images_that_a_metric_asks_for(added_metrics: None) -> None:
    from ratespike import simulate
    from ratespike.metrics import RateVsSpike
    from ratespike.neurons import LIF

    images = torch.rand(6, 3)
    labels = torch.arange(6) % 3
    network = torch.nn.Sequential(LIF())
    spikes = simulate(network, images, n_steps=12)
    measured = RateVsSpike(12, 0.001, 3, spikes.neurons)
    for batch in (slice(0, 4), slice(4, 6)):
        part = simulate(network, images[batch], n_steps=12, image_index=torch.arange(6)[batch])
        measured.update(network(images[batch]), part, labels[batch], torch.arange(6)[batch])
    found = Results.from_arrays(measured.compute().arrays()).until(7).image_means["spiking_loss"]
    expected = [torch.nn.functional.cross_entropy(step, labels).item() for step in spikes.outputs[:7]]
    assert found.tolist() == pytest.approx(expected)


def test_a_comparison_needs_no_torch() -> None:
    """Importing torch takes longer than all the rest of `compare.py`."""
    code = "import sys, ratespike.analysis, ratespike.metrics.names as n; n.metrics(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
