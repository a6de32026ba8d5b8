"""Structure that is taken away from a torch encoder."""

from typing import Any


def keep_first_layers(encoder: Any, layers: int) -> None:
    """Cut `encoder` (BERT layout) down to its first `layers` layers, in place, its configuration too."""
    present = len(encoder.encoder.layer)
    if not 1 <= layers <= present:
        raise ValueError(f"between 1 and {present} layers can be kept, got {layers}")
    encoder.encoder.layer = encoder.encoder.layer[:layers]
    encoder.config.num_hidden_layers = layers
