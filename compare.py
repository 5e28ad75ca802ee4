"""Compare finished runs: what the step from rates to spikes costs, for each setting, over its seeds."""

from pathlib import Path

from ratespike.cli.programs import run_script

if __name__ == "__main__":
    run_script("compare", root=Path(__file__).resolve().parent)
