"""The names under which `onnx.py` was known before it ran on CUDA too."""

from greenserve.serve.engines.onnx import OnnxEngine as OnnxCpuEngine
from greenserve.serve.engines.onnx import engine_for_file as engine_for

__all__ = ["OnnxCpuEngine", "engine_for"]
