"""Train a spiking network on its firing rates, then test it on rates and on spikes."""

from pathlib import Path

from ratespike.cli.programs import run_script

if __name__ == "__main__":
    run_script("train", root=Path(__file__).resolve().parent)
