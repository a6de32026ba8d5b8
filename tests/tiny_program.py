"""The tiny model's logits as a torch program, and a program on plain tensors: what a torch variant's file holds."""

from pathlib import Path
from typing import Any

from tests.tiny_model import LABELS, VOCABULARY, WORDS


def write_text_program(file: Path, *, half: bool = False) -> Path:
    """Logits = bias + sum of the words' rows, as `torch.export.save` writes it; in BF16 where `half`."""
    import torch

    class Words(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(VOCABULARY, len(LABELS))
            with torch.no_grad():
                self.table.weight.zero_()
                for index, row in enumerate(WORDS.values(), 1):
                    self.table.weight[index] = torch.tensor(row)
            self.bias = torch.nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))

        def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            kept = self.table(input_ids) * attention_mask.unsqueeze(-1).to(self.bias.dtype)
            return {"logits": kept.sum(1) + self.bias}

    module = Words().eval()
    # Two tensors: export would take one that is given twice for one input.
    axes = {0: torch.export.Dim("rows", min=1, max=64), 1: torch.export.Dim("tokens", min=1, max=64)}
    example = torch.ones(2, 4, dtype=torch.int64)
    return _write(file, module.to(torch.bfloat16) if half else module, (example, example.clone()), (axes, axes))


def write_tensor_program(file: Path) -> Path:
    """`sum` and `difference` of INPUT0 and INPUT1, FP32 [rows, 2]."""
    import torch

    class Arithmetic(torch.nn.Module):  # type: ignore[misc]
        def forward(self, left: Any, right: Any) -> dict[str, Any]:
            return {"sum": left + right, "difference": left - right}

    axes = {0: torch.export.Dim("rows", min=1, max=64)}
    example = torch.ones(2, 2)
    return _write(file, Arithmetic(), (example, example.clone()), (axes, axes))


def _write(file: Path, module: Any, example: tuple[Any, ...], axes: tuple[Any, ...]) -> Path:
    import torch

    torch.export.save(torch.export.export(module, example, dynamic_shapes=axes), file)
    return file
