"""Makes docs/neurons.md and its pictures from the neurons themselves.

python docs/gallery.py [option ...]      draws the pictures of these options of the group `neuron`; of all, if none is named
"""

import inspect
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import hydra
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import ratespike.neurons
from ratespike import simulate
from ratespike.config.schemas import check
from ratespike.neurons import Neuron
from ratespike.parameters import build

DOCS = Path(__file__).parent
CONF = DOCS.parent / "conf"
N_STEPS = 1000
TRAIN_STEPS = 100
INPUTS = 41  # points of the f-I curve
TRIALS = 8  # of each input, from different phases of the cycle

INTRODUCTION = """# Neurons

Each picture is one option of the group `neuron`, with its defaults. Left: the firing rate over the input `x`, where the
current is `J = gain * x + bias`; the line is the rate that is trained, the dots are spikes counted in one second of
simulation. Right: spike trains of 100 ms for four inputs. This page is made by `python docs/gallery.py`.
"""


def neurons() -> dict[str, dict[str, Any]]:
    """The configuration of each option of the group `neuron`, by name."""
    options = {}
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for path in sorted((CONF / "neuron").glob("*.yaml")):
            config = hydra.compose("config", [f"neuron={path.stem}"])
            options[path.stem] = check(config).neuron
    return options


def page(options: dict[str, dict[str, Any]]) -> str:
    """The text of docs/neurons.md."""
    text = INTRODUCTION
    for option, config in options.items():
        text += _section(option, config)
    return text


def _section(option: str, config: dict[str, Any]) -> str:
    """A neuron's part of the page: its docstring's summary, picture and formulas, and a table of its parameters."""
    neuron = build(Neuron, config, option)  # type: ignore[type-abstract]
    paragraphs = (inspect.getdoc(type(neuron)) or "").split("\n\n")
    formulas = []
    for paragraph in paragraphs:
        word, _, rest = paragraph.partition(":")
        if word in ("Rate", "Step", "Source"):
            formulas.append(f"**{word}:** {rest.strip()}")
    all_formulas = "\n\n".join(formulas)
    return f"""
## `neuron={option}`

{paragraphs[0]}

![{type(neuron).__name__}: rate and spikes](images/neurons/{option}.png)

{all_formulas}

`{_importable_name(type(neuron))}`

| parameter | value | allowed |
| --- | --- | --- |
{_parameter_rows(neuron)}
"""


def _importable_name(neuron: type[Neuron]) -> str:
    """The name to import a neuron by: short if `ratespike.neurons` lists it, else with the name of its module."""
    if getattr(ratespike.neurons, neuron.__name__, None) is neuron:
        return f"ratespike.neurons.{neuron.__name__}"
    return f"{neuron.__module__}.{neuron.__name__}"


def _parameter_rows(neuron: Neuron) -> str:
    """The lines of a neuron's table: name, value and range of each parameter."""
    rows = []
    types = get_type_hints(type(neuron))
    for field in fields(neuron):
        value = _shown(getattr(neuron, field.name))
        allowed = "a neuron"
        if "range" in field.metadata:
            allowed = field.metadata["range"].describe("a number")
            if type(None) in get_args(types[field.name]):
                allowed += " or null"
        rows.append(f"| `{field.name}` | {value} | {allowed} |")
    return "\n".join(rows)


def _shown(value: object) -> str:
    """A parameter's value as a configuration writes it; of a neuron its class."""
    if isinstance(value, Neuron):
        return f"`{type(value).__name__}`"
    return "null" if value is None else f"{value}"


def picture(config: dict[str, Any]) -> Figure:
    """Rate and spikes of one neuron."""
    neuron = build(Neuron, config, "neuron")  # type: ignore[type-abstract]
    figure, (curve, train) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    x = torch.linspace(-0.5, 1.5, INPUTS, dtype=torch.float64)
    rate = neuron.firing_rate(neuron.current(x))
    counted = _spikes(neuron, x.repeat(TRIALS), N_STEPS).sum(0).reshape(TRIALS, -1).mean(0) / (N_STEPS * 0.001)
    curve.plot(x, rate, color="black", label="rate")
    curve.plot(x, counted, "o", markersize=3, label="spikes")
    curve.set(xlabel="input x", ylabel="firing rate (Hz)")
    curve.legend(loc="upper left")
    inputs = torch.tensor([0.25, 0.5, 1.0, 1.5], dtype=torch.float64)
    for row, spikes in enumerate(_spikes(neuron, inputs, TRAIN_STEPS).T):
        train.vlines(spikes.nonzero()[:, 0] + 1, row + 0.15, row + 0.85, linewidth=1.2)
    train.set(xlabel="time (ms)", xlim=(0, TRAIN_STEPS), ylim=(0, 4), ylabel="input x")
    train.set_yticks([0.5, 1.5, 2.5, 3.5], [f"{value:g}" for value in inputs.tolist()])
    return figure


def _spikes(neuron: Neuron, x: Tensor, n_steps: int) -> Tensor:
    """Spikes of one neuron for each input, shape (steps, inputs)."""
    return simulate(nn.Sequential(neuron), x[None], n_steps, start="steady_phase", record=["0"]).recordings["0"][:, 0]


def main(drawn: list[str]) -> None:
    """Write the page, and the pictures of the options in `drawn`, or of all if it is empty."""
    warnings.simplefilter("ignore", UserWarning)  # a rate above what steps allow is what the picture shows
    options = neurons()
    (DOCS / "images" / "neurons").mkdir(parents=True, exist_ok=True)
    (DOCS / "neurons.md").write_text(page(options))
    for option in drawn or options:
        figure = picture(options[option])
        figure.savefig(DOCS / "images" / "neurons" / f"{option}.png", dpi=90)
        plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
