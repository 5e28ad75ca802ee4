"""Generated bad command lines: one line, exit code 1, no run and no file left; what is accepted runs to its end."""

from pathlib import Path

import pytest
from bad_configurations import BASE, VALUES, command_lines, files, outcome
from program import query, run

pytestmark = [pytest.mark.program, pytest.mark.filterwarnings("ignore")]

SHORT, LONG = 20, 600
ENDLESS = ("1000000", "1e9", "9223372036854775807")  # of a run that would take as long as it was told to


def test_bad_command_lines_end_in_one_line(checkout: Path) -> None:
    accepted = [arguments for arguments in command_lines(SHORT, seed=0) if outcome(checkout, arguments).accepted]
    assert len(accepted) < SHORT / 2
    assert not (checkout / "mlflow.db").exists()


@pytest.mark.system
def test_many_bad_command_lines_end_in_one_line_and_others_run(checkout: Path) -> None:
    tried = list(command_lines(LONG, seed=1))
    accepted = [arguments for arguments in tried if outcome(checkout, arguments).accepted]
    assert {value for value in VALUES if any(value in argument for line in tried for argument in line)} == set(VALUES)
    ended = {"to its end": 0, "by a line": 0}
    for arguments in accepted:
        if arguments[-1].endswith(ENDLESS):
            continue
        left = files(checkout)
        code, out, error = run(checkout, *BASE, *arguments)
        assert "Traceback" not in out + error, (arguments, error)
        if code:
            assert [line for line in error.splitlines() if line.startswith("error: ")], (arguments, error)
            assert files(checkout) <= left, arguments
        ended["by a line" if code else "to its end"] += 1
    statuses = query(checkout, "select status, count(*) from runs group by status")
    print(f"\n{LONG} command lines: {LONG - len(accepted)} refused, {len(accepted)} accepted; these ended {ended}: {statuses}")
    assert {str(status) for status, _ in statuses} <= {"FINISHED"}
