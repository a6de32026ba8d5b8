"""A tiny model, a tiny labelled file and a whole tiny run, each made once."""

import csv
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from greenserve.carbon.power_model import CpuPower
from greenserve.clock import SystemClock
from greenserve.optimize.order import Order
from greenserve.optimize.plan import Preset
from greenserve.optimize.run import Outcome, optimize
from greenserve.serve.engines.onnx import engine_for_file

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
VOCABULARY = 200


def write_tokenizer(file: Path) -> None:
    """One token per word `w4`..`w199`, between [CLS] and [SEP]."""
    words = {name: index for index, name in enumerate(SPECIAL)}
    words |= {f"w{index}": index for index in range(len(SPECIAL), VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(file))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT: 2 layers, hidden 32, vocabulary 200, 64 positions."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    write_tokenizer(folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def labelled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 texts of three classes, each class with words of its own."""
    chosen = random.Random(1)
    file = tmp_path_factory.mktemp("data") / "words.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["body", "mood"])
        for index in range(600):
            label = index % 3
            words = [f"w{chosen.randrange(4 + 60 * label, 64 + 60 * label)}" for _ in range(chosen.randrange(3, 12))]
            writer.writerow([" ".join(words), ("bad", "fair", "good")[label]])
    return file


@pytest.fixture(scope="session")
def power() -> CpuPower:
    """1 W idle, 2 W per busy CPU."""
    return CpuPower(
        idle_mw=1_000, dynamic_mw_per_cpu=2_000, tier="class_average", half_width_pct=60, source="made up for tests"
    )


@pytest.fixture(scope="session")
def tiny_preset() -> Preset:
    """A run of seconds."""
    return Preset(
        name="tiny",
        sizes=(240, 120, 180),
        batches=(1, 4),
        lengths=(8, 16, 32),
        windows=2,
        window_s=0.002,
        bootstrap=200,
    )


@pytest.fixture(scope="session")
def tiny_order(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, labelled_file: Path, tiny_preset: Preset
) -> Order:
    """The order of the tiny run; its folder does not exist yet."""
    return Order(
        model=str(tiny_model),
        data=str(labelled_file),
        text_column="body",
        label_column="mood",
        out=tmp_path_factory.mktemp("variants") / "words",
        name="words",
        preset=tiny_preset,
        max_drop_points=10.0,
    )


@pytest.fixture(scope="session")
def tiny_outcome(tiny_order: Order, power: CpuPower) -> Outcome:
    """The tiny run, done once with the engine that serves."""
    return optimize(tiny_order, engine_for=engine_for_file, power=power, clock=SystemClock(), tell=lambda _: None)
