"""Simulate a trained network again, with other settings, without training."""

from pathlib import Path

from ratespike.cli.programs import run_script

if __name__ == "__main__":
    run_script("evaluate", root=Path(__file__).resolve().parent)
