"""Networks for other programs, and from them: NIR, ONNX, `torch.export` and safetensors, one file a format.

None of it needs a configuration or a run; `python export.py` (`ratespike.pipeline.export`) is built on it.
"""
