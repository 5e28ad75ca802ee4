"""The page on exports does what it says."""

import re
from pathlib import Path

import pytest
from program import ROOT

pytest.importorskip("onnxruntime")
pytest.importorskip("nir")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says:UserWarning")
def test_the_page_on_exports_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL))
    exec(code, {})
    rates, state, spikes, lost, loss, counts = capsys.readouterr().out.splitlines()
    assert rates == "rates agree: True"
    assert f"print(list(state))  # {state}" in code
    assert spikes == "other spikes: 0"
    assert f'print(report.lost["1"][0])  # {lost}' in code
    assert re.fullmatch(r"spike counts differ by 1 \d+\.\d\d%, and .* of the answers, on 8 images for 30 steps from zero", loss)
    first, second = counts.strip("[]").split(", ")
    assert first == second and float(first) > 1000
