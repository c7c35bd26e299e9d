"""The hub's finder: the real transformers classes in miniature, and a stand-in that says what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import photograph

from deocclude.conditioning.instance_segmenter import InstanceSegmenter, load_instance_segmenter
from deocclude.crops import Box
from deocclude.errors import InputError

SIDE = 64


def tiny_processor() -> Any:
    from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

    return EomtImageProcessorPil(size={"shortest_edge": SIDE, "longest_edge": SIDE}, do_pad=True)


def tiny_eomt(labels: dict[int, str], seed: int = 0) -> tuple[Any, Any]:
    from transformers import EomtConfig, EomtForUniversalSegmentation

    config = EomtConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        num_blocks=1,
        num_upscale_blocks=1,
        num_queries=5,
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )
    torch.manual_seed(seed)
    return EomtForUniversalSegmentation(config), tiny_processor()


class ScriptedModel:
    """In place of EomtForUniversalSegmentation: sees rectangles of the padded square, as shares of its side."""

    config = SimpleNamespace(id2label={0: "person", 1: "dog"})
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, *seen: tuple[str, float, tuple[float, float, float, float], float]) -> None:
        self.seen = seen

    def eval(self) -> ScriptedModel:
        return self

    def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        self.shape = tuple(pixel_values.shape)
        classes = torch.full((1, len(self.seen), 3), 1e-6)
        masks = torch.full((1, len(self.seen), SIDE, SIDE), -20.0)
        for query, (name, probability, (x0, y0, x1, y1), logit) in enumerate(self.seen):
            classes[0, query, 0 if name == "person" else 1] = probability
            classes[0, query, 2] = 1 - probability
            masks[0, query, round(y0 * SIDE) : round(y1 * SIDE), round(x0 * SIDE) : round(x1 * SIDE)] = logit
        return SimpleNamespace(class_queries_logits=classes.log(), masks_queries_logits=masks)


def rectangle(size_hw: tuple[int, int], box: Box) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_people_are_where_the_model_saw_them() -> None:
    """The square shows a photograph of 100 x 200 in its upper half; dogs, guesses and padding are nobody."""
    model = ScriptedModel(
        ("person", 0.9, (0.1, 0.1, 0.2, 0.4), 8.0),
        ("dog", 0.99, (0.0, 0.0, 0.9, 0.5), 8.0),
        ("person", 0.8, (0.5, 0.0, 0.9, 0.5), 8.0),
        ("person", 0.3, (0.2, 0.0, 0.5, 0.5), 8.0),
        ("person", 0.9, (0.2, 0.6, 0.5, 0.9), 8.0),
    )
    people = InstanceSegmenter(model, tiny_processor())(photograph(100, 200))
    assert model.shape == (1, 3, SIDE, SIDE)
    assert len(people) == 2
    for person, box in zip(people, [(100, 0, 180, 100), (20, 20, 40, 80)], strict=True):
        assert iou(person.modal_mask, rectangle((100, 200), box)) > 0.8
        assert person.joints is None


def test_touching_people_are_parted_by_probability() -> None:
    model = ScriptedModel(
        ("person", 0.9, (0.0, 0.0, 0.6, 1.0), 2.0),
        ("person", 0.9, (0.4, 0.0, 1.0, 1.0), 5.0),
    )
    sure, less_sure = InstanceSegmenter(model, tiny_processor())(photograph(SIDE, SIDE))
    assert not (sure.modal_mask & less_sure.modal_mask).any()
    assert iou(sure.modal_mask, rectangle((SIDE, SIDE), (26, 0, 64, 64))) > 0.95
    assert iou(less_sure.modal_mask, rectangle((SIDE, SIDE), (0, 0, 26, 64))) > 0.95


def test_the_same_person_twice_is_one() -> None:
    model = ScriptedModel(
        ("person", 0.7, (0.1, 0.1, 0.5, 0.9), 4.0),
        ("person", 0.9, (0.12, 0.1, 0.5, 0.95), 4.0),
    )
    (person,) = InstanceSegmenter(model, tiny_processor())(photograph(SIDE, SIDE))
    assert iou(person.modal_mask, rectangle((SIDE, SIDE), (8, 6, 32, 61))) > 0.95


def test_nobody() -> None:
    assert InstanceSegmenter(ScriptedModel(), tiny_processor())(photograph()) == []
    unsure = ScriptedModel(("person", 0.9, (0.1, 0.1, 0.5, 0.9), 0.1))  # 0.9 x 0.52
    assert InstanceSegmenter(unsure, tiny_processor())(photograph()) == []
    assert InstanceSegmenter(ScriptedModel(), tiny_processor())(photograph(1, 200)) == []


@pytest.mark.parametrize("size_hw", [(64, 64), (90, 141), (300, 80), (5, 200)])
def test_real_model(size_hw: tuple[int, int]) -> None:
    finder = InstanceSegmenter(*tiny_eomt({0: "person", 1: "dog"}), threshold=0.0)
    people = finder(photograph(*size_hw))
    assert people, "with a threshold of 0 some query sees somebody"
    assert all(person.modal_mask.shape == size_hw and person.modal_mask.any() for person in people)
    assert np.sum([person.modal_mask for person in people], axis=0).max() == 1
    areas = [person.modal_mask.sum() for person in people]
    assert areas == sorted(areas, reverse=True)
    again = finder(photograph(*size_hw))
    assert all(np.array_equal(a.modal_mask, b.modal_mask) for a, b in zip(people, again, strict=True))


@pytest.mark.parametrize("processor_class", ["EomtImageProcessorFast", "EomtImageProcessor", "EomtImageProcessorPil"])
def test_from_a_folder(processor_class: str, tmp_path: Path) -> None:
    """Whatever name of the processor the folder was saved with, Pillow's is taken."""
    model, processor = tiny_eomt({0: "dog", 1: "Person"})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    config = tmp_path / "preprocessor_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"image_processor_type": processor_class}))
    loaded = load_instance_segmenter(tmp_path, device="cpu")
    assert loaded.person_labels == [1] and loaded.threshold == 0.5
    loaded.threshold = 0.0
    people = InstanceSegmenter(model, processor, threshold=0.0)(photograph())
    assert people
    for person, expected in zip(loaded(photograph()), people, strict=True):
        assert np.array_equal(person.modal_mask, expected.modal_mask)


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load EomtForUniversalSegmentation from there"):
        load_instance_segmenter(tmp_path / "nowhere", device="cpu")
    model, processor = tiny_eomt({0: "dog", 1: "cat"})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="model must know the label 'person'"):
        load_instance_segmenter(tmp_path, device="cpu")
