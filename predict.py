"""Show pictures to a trained network: its answers on rates and on spikes."""

from pathlib import Path

from ratespike.cli.programs import run_script

if __name__ == "__main__":
    run_script("predict", root=Path(__file__).resolve().parent)
