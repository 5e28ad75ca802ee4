import csv
import io
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from rich.text import Text

from ratespike.analysis import Record, Report, report, terminal
from ratespike.analysis.tables import FRONT, columns
from ratespike.parameters import ParameterError

MakeRun = Callable[..., Record]


@pytest.fixture
def runs(make_run: MakeRun) -> list[Record]:
    """Two values of three parameters, two seeds; the gap is 1 point for each tau, 2 for n_steps 10."""
    settings = itertools.product((0.01, 0.02), (0.1, 1), (10, 30), (0, 1))
    return [
        make_run(0.99 - tau - 0.02 * (n_steps == 10) + 0.001 * seed, n_steps * 1e6, tau=tau, lr=lr, n_steps=n_steps, seed=seed)
        for tau, lr, n_steps, seed in settings
    ]


def curve(run_id: str) -> Mapping[int, float]:
    return {step: 0.9 + step / 1000 for step in range(1, 31)}


@pytest.fixture
def compared(runs: list[Record]) -> Report:
    return report(runs, [5, 10, 30], curve)


def test_the_files_hold_all_groups_and_all_runs(compared: Report, runs: list[Record]) -> None:
    rows = list(csv.DictReader(io.StringIO(compared.csv)))
    assert sorted(row["run_id"] for row in rows) == sorted(run.id for run in runs)
    first = rows[0]
    assert (first["tau"], first["n_steps"], first["spiking_accuracy_after/5_steps"]) == ("0.01", "30", "0.905")
    lines = compared.markdown.partition(FRONT)[0].splitlines()
    assert lines[0] == "16 runs in 8 groups alike but for their seeds."
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len(table) == 2 + 8, "a line for the titles, one below it, one for each group"
    assert len({len(row) for row in table}) == 1, "the rows are not equally long"
    best = dict(zip(table[0], table[2], strict=True))
    assert best["group"] == "★ lr=0.1 n_steps=30 tau=0.01"
    assert best["spikes, last step (%)"] == "98.05 ± 0.64"  # t of one degree of freedom: 12.7
    assert best["gap (points)"] == "0.95 ± 0.64"


def test_a_step_that_no_run_reached_has_no_column(make_run: MakeRun) -> None:
    text = report([make_run(0.9)], [10, 60], curve).markdown
    assert "spikes, 10 steps (%)" in text
    assert "spikes, 30 steps (%)" in text
    assert "60 steps" not in text


def test_layers_rates_stand_beside_each_other_or_as_a_range(make_run: MakeRun) -> None:
    def with_layers(n_layers: int) -> str:
        run = make_run(0.9)
        rates = {f"test/firing_rate_hz/neuron{number}": 10.0 * number for number in range(1, n_layers + 1)}
        return report([Record("a", "a", 0, 1.0, run.parameters, {**run.metrics, **rates})], [], curve).markdown

    assert "10.0, 20.0, 30.0" in with_layers(3)
    assert "10.0 to 60.0" in with_layers(6)


def test_the_figures_of_a_sweep(compared: Report) -> None:
    assert set(compared.figures) == {
        *("accuracy_against_steps", "accuracy_against_operations", "heat_map"),
        *("gap_against_tau", "gap_against_lr", "gap_against_n_steps"),
    }
    legend = [text.get_text() for text in compared.figures["accuracy_against_steps"].legends[0].get_texts()]
    assert sorted(legend) == ["lr=0.1 tau=0.01", "lr=0.1 tau=0.02", "lr=1 tau=0.01", "lr=1 tau=0.02"]  # 30 steps hold 10
    lines = compared.figures["gap_against_n_steps"].axes[0].containers
    assert len(lines) == 4
    for line in lines:
        tau = float(line.get_label().split("tau=")[1])
        assert np.allclose(line.lines[0].get_ydata(), [100 * tau + 2 - 0.05, 100 * tau - 0.05])


def test_the_figures_and_the_table_of_what_an_accuracy_costs(make_run: MakeRun) -> None:
    runs = []
    for accuracy, operations, steps, joules in ((0.99, 2e7, 30, 2e-3), (0.98, 1e7, 20, 1e-3), (0.97, 1.5e7, 20, 1e-3)):
        run = make_run(accuracy, operations, a=steps, b=accuracy)
        costs = {"test/mean_steps": steps, "test/energy_joules/loihi": joules, "test/operations_over_plain": operations / 1.6e7}
        runs.append(replace(run, metrics=run.metrics | costs))
    found = report(runs, [], lambda run: {})
    drawn = {name: figure for name, figure in found.figures.items() if name.startswith("accuracy_against_")}
    assert set(drawn) == {f"accuracy_against_{cost}" for cost in ("mean_steps", "operations", "energy")}
    energy = drawn["accuracy_against_energy"]
    assert energy.axes[0].get_xlabel() == "energy an image on loihi (µJ)"
    names = [text.get_text() for text in energy.legends[0].get_texts()]
    assert names == ["Pareto front", "1 other group", "a=30 b=0.99", "a=20 b=0.98"]
    front = [line for line in energy.axes[0].lines if line.get_drawstyle() == "steps-post"]
    assert np.allclose(front[0].get_xdata(), [1000, 2000])
    table = found.markdown.partition("is beaten in everything:")[2].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    assert cells[0][-1] == "beaten by"
    assert [row[0] for row in cells[2:]] == ["★ a=30 b=0.99", "★ a=20 b=0.98", "a=20 b=0.97"]
    assert [row[-1] for row in cells[2:]] == ["", "", "a=20 b=0.98"]
    assert "no, 1.25" in found.markdown and "yes, 0.625" in found.markdown


def test_means_are_over_combinations_that_all_have(runs: list[Record]) -> None:
    """Without the run of 10 steps at tau 0.02, tau 0.02 must not look better."""
    missing = {"tau": "0.02", "n_steps": "10"}.items()
    partial = [run for run in runs if not missing <= run.parameters.items()]
    assert len(partial) == len(runs) - 4
    axes = report(partial, [], curve, ["tau", "lr"]).figures["heat_map"].axes[0]
    assert axes.get_title() == "mean over n_steps"
    cells = axes.images[0].get_array()
    assert np.allclose(cells, [[98.05, 97.05], [98.05, 97.05]])


def test_a_mean_that_compares_unlike_runs_says_so(make_run: MakeRun) -> None:
    runs = [make_run(0.9, tau=tau, lr=lr) for tau, lr in ((1, 0.1), (2, 0.2), (3, 0.3), (3, 0.4))]
    axes = report(runs, [], curve).figures["gap_against_tau"].axes[0]
    assert len(axes.containers) == 4, "lr has no line for each value"
    assert axes.get_title() == ""
    many = [make_run(0.9, tau=number, lr=number % 13) for number in range(30)]
    axes = report(many, [], curve).figures["gap_against_tau"].axes[0]
    assert len(axes.containers) == 1
    assert axes.get_title() == "not at equal values of lr"


def test_a_single_run_and_words_get_the_figures_that_make_sense(make_run: MakeRun) -> None:
    assert set(report([make_run(0.9)], [], curve).figures) == {"accuracy_against_steps"}
    words = [make_run(0.9, simulation__start=start) for start in ("zero", "uniform")]
    assert set(report(words, [], lambda run: {}).figures) == {"accuracy_against_operations"}


def test_a_heat_map_of_something_that_does_not_vary(runs: list[Record]) -> None:
    with pytest.raises(ParameterError, match="heat_map=seed: is not among what varies; known: lr, n_steps, tau"):
        report(runs, [], curve, ["seed", "lr"])


@pytest.fixture
def with_all_columns(make_run: MakeRun) -> Report:
    """Runs that exited early, with long names, wide intervals and rates of three layers."""
    records = []
    for start, seed in itertools.product(("zero", "steady_phase"), (0, 1)):
        run = make_run(0.9 - 0.3 * seed, 1e8 + 1e7 * seed, simulation__start=start, neuron__tau_rc=start == "zero", seed=seed)
        more = {"test/mean_steps": 12.25 + seed, **{f"test/firing_rate_hz/neuron{number}": 10.25 for number in (1, 2, 3)}}
        records.append(replace(run, metrics=run.metrics | more))
    return report(records, [5, 10, 20, 30], curve)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("made", ["compared", "with_all_columns"])
def test_nothing_is_cut_on_any_terminal(
    made: str, width: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = request.getfixturevalue(made).comparison
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    terminal.show(comparison, [5, 10, 20, 30], rows=2)
    printed = Text.from_ansi(capsys.readouterr().out).plain
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    words = printed.split()
    table, _, left_out = " ".join(words).partition(" mean ± ")[0].partition("no room here, but in the files: ")
    assert bool(left_out) == (width < 120)
    for column in columns(comparison, [5, 10, 20, 30]):
        if column.title not in left_out:
            cells = map(column.cell, comparison.foremost(2))
            missing = set(" ".join([column.title, *cells]).split()) - set(table.split())
            assert not missing, f"{column.title} is cut"


def test_lines_are_broken_between_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = "one line of a sweep is longer than a narrow terminal " * 6
    terminal.say(line)
    assert capsys.readouterr().out.count("\n") == 1, "a line is broken where there is no terminal"
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    terminal.say(line)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines).split() == line.split()
    assert max(map(len, lines)) <= 80
