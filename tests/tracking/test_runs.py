from pathlib import Path

import pytest

from ratespike.parameters import ParameterError
from ratespike.tracking import runs


def test_a_run_is_found_by_id_or_name(tmp_path: Path) -> None:
    client = runs.connect(f"sqlite:///{tmp_path}/mlflow.db")
    ids = [
        runs.open_run(client, experiment, name, {}).id for experiment, name in [("a", "it's"), ("b", "twice"), ("a", "twice")]
    ]
    for word in ("it's", ids[0]):
        found = runs.find_run(client, word)
        assert (found.id, found.experiment) == (ids[0], "a")
    with pytest.raises(ParameterError, match=r"run twice: 2 runs have this name; give an id: \w+, \w+"):
        runs.find_run(client, "twice")
    with pytest.raises(ParameterError, match="run its: not found in sqlite"):
        runs.find_run(client, "its")
