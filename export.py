"""Write a trained network in a format of other programs: NIR, ONNX, torch.export or safetensors."""

from pathlib import Path

from ratespike.cli.programs import run_script

if __name__ == "__main__":
    run_script("export", root=Path(__file__).resolve().parent)
