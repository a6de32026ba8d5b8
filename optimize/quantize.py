"""INT8 weights with activations scaled while running; the head stays FP32."""

import logging
from pathlib import Path

OPERATORS = ("MatMul", "Gemm", "Gather")
VNNI = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that add four 8-bit products without saturating in between."""
PLAIN = ("avx2", "avx512f")


def needs_reduced_range(isa: tuple[str, ...]) -> bool:
    """Whether weights must stay within 7 bits on a host with these instruction sets, or 16-bit sums saturate."""
    return not set(isa) & set(VNNI)


def required_isa(*, reduced_range: bool) -> tuple[str, ...]:
    """Instruction sets of which a host needs one to give the same answers as the host that quantised."""
    return (*VNNI, *PLAIN) if reduced_range else VNNI


def quantize_dynamic(features_file: Path, file: Path, *, reduced_range: bool) -> dict[str, object]:
    """Write the INT8 form of the unfused `features_file`, which has no head yet; the recipe's step."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # its advice to fuse first is wrong here: unfused runs faster and needs no shapes
    try:
        quantize(
            features_file,
            file,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            reduce_range=reduced_range,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.setLevel(before)
    return {
        "op": "quantize_dynamic",
        "weights": "s8",
        "per_channel": True,
        "reduce_range": reduced_range,
        "ops": list(OPERATORS),
        "exclude": ["head"],
    }
