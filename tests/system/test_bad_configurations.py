"""Generated bad command lines: one line, exit code 1, no run and no file left; what is accepted runs to its end."""

from pathlib import Path

import pytest
from bad_configurations import BASE, VALUES, command_lines, files, outcome
from program import query, run

pytestmark = [pytest.mark.program, pytest.mark.filterwarnings("ignore")]

SHORT, LONG = 12, 600
ENDLESS = ("1000000", "1e9", "9223372036854775807")  # of a run that would take as long as it was told to


LINES = {  # as tried by hand, with what the line has to say
    ("dt=1e308",): "dt=1e+308: must be a number that is 0, or from 1e-30 to 1e+30 in size",
    ("dt=1e-308",): "dt=1e-308: must be",
    ("n_steps=100000000000000000000",): "n_steps=100000000000000000000: must be a whole number below 2**63 in size",
    ("n_steps=2000000000",): "n_steps=2000000000: needs",
    ("network.layers.conv1.filters=1000000000",): "network.layers.conv1.type=Conv: needs",
    ("network.layers.conv1.padding=1000000",): "network.layers.conv1.type=Conv: needs",
    ("data.size=100000",): "size=100000: needs",
    ("seed=18446744073709551616",): "seed=18446744073709551616: must be",
    ("simulation.seed=9223372036854775808",): "simulation.seed=9223372036854775808: must be",
    ("simulation.burn_in=1e308",): "simulation.burn_in=1e+308: must be",
    ("simulation.early_exit=1e-300",): "simulation.early_exit=1e-300: must be",
    ("optimizer.lr=1e300",): "optimizer.lr=1e+300: must be",
    ("simulation.engine=event_driven", "neuron=sigmoid"): "engine=event_driven: cannot run",
    ("simulation.engine=event_driven", "neuron=poisson"): "engine=event_driven: cannot run",
    ("simulation.engine=event_driven", "neuron=adaptive_lif"): "engine=event_driven: cannot run",
    ("trainer.devices=100",): "trainer.devices=100: there are",
    ("tracking.experiment=../../x",): "tracking.experiment=../../x: must be a word of at most 200 bytes without slashes",
    (f"tracking.experiment={'x' * 300}",): "must be a word of at most 200 bytes",
    ("tracking.experiment=Zürich_日本",): "give \"tracking.experiment='Zürich_日本'\"",
    ("synapse=none", "synapse.tau=1"): "synapse.tau: the option of synapse that was chosen has no tau",
    ("data=null",): "data=null: not an option of data",
    ("network.layers.conv1=abc",): "network.layers.conv1=abc",
    ("=3",): "=3: must be <key>=<value>",
    ("+network.layers.forward={type: Neurons}",): "network.layers.forward: a layer's name",
}


@pytest.mark.parametrize("arguments", LINES, ids=lambda given: " ".join(given)[:40])
def test_the_line_says_what_is_wrong(checkout: Path, arguments: tuple[str, ...]) -> None:
    assert LINES[arguments] in outcome(checkout, arguments).line


def test_large_seeds_are_seeds(checkout: Path) -> None:
    seeds = ("seed=20251125123000", "simulation.seed=9223372036854775807", "data.split_seed=9223372036854775807")
    assert outcome(checkout, seeds).accepted


def test_bad_command_lines_end_in_one_line(checkout: Path) -> None:
    accepted = [arguments for arguments in command_lines(SHORT, seed=0) if outcome(checkout, arguments).accepted]
    assert len(accepted) < SHORT / 2
    assert not (checkout / "mlflow.db").exists()


@pytest.mark.system
def test_many_bad_command_lines_end_in_one_line_and_others_run(checkout: Path) -> None:
    tried = list(command_lines(LONG, seed=1))
    accepted = [arguments for arguments in tried if outcome(checkout, arguments).accepted]
    assert {value for value in VALUES if any(value in argument for line in tried for argument in line)} == set(VALUES)
    ended = {"to its end": 0, "by a line": 0, "by a loss that is no number": 0}
    for arguments in accepted:
        if arguments[-1].endswith(ENDLESS):
            continue
        left = files(checkout)
        code, out, error = run(checkout, *BASE, *arguments)
        assert "Traceback" not in out + error, (arguments, error)
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        if not code:
            ended["to its end"] += 1
        elif lines and lines[0].startswith("error: the loss is "):  # which only its training shows
            ended["by a loss that is no number"] += 1
        else:
            assert lines, (arguments, error)
            assert files(checkout) <= left, arguments
            ended["by a line"] += 1
    statuses = dict(query(checkout, "select status, count(*) from runs group by status"))
    print(f"\n{LONG} command lines: {LONG - len(accepted)} refused, {len(accepted)} accepted; these ended {ended}: {statuses}")
    assert set(statuses) <= {"FINISHED", "FAILED"}
    assert statuses.get("FAILED", 0) == ended["by a loss that is no number"]
