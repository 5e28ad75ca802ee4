"""Find out why a trained network is right less often on spikes than on rates, and which override to try."""

from pathlib import Path

from ratespike.cli.programs import run_script

if __name__ == "__main__":
    run_script("diagnose", root=Path(__file__).resolve().parent)
