from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from miniatures import photograph

from deocclude.conditioning.describer import (
    GARMENTS,
    GENERIC_DESCRIPTION,
    BlipVqa,
    Describer,
    Description,
    informative_words,
    is_yes,
    load_describer,
    questions,
)
from deocclude.conditioning.pretrained import load_pretrained
from deocclude.errors import InputError

FIXED = [
    "Is this person a man or a woman?",
    "What is the hair color of this person?",
    "What is the hairstyle of this person?",
    "Does this person have facial hair?",
    "Describe the pose of this person.",
]
WEARING = [f"Is this person wearing {garment}?" for garment in GARMENTS]

MAN = {
    "Is this person a man or a woman?": "man",
    "What is the hair color of this person?": "brown",
    "What is the hairstyle of this person?": "short",
    "Does this person have facial hair?": "yes",
    "How is the facial hair of this person?": "trimmed",
    "Describe the pose of this person.": "standing",
    "Is this person wearing upper-clothes?": "Yes.",
    "What upper-clothes is the person wearing?": "shirt",
    "What is the color of the shirt upper-clothes?": "black",
    "What is the style of the shirt upper-clothes?": "casual",
    "Is this person wearing pants?": "yes, jeans",
    "What pants is the person wearing?": "jeans",
    "What is the color of the jeans pants?": "black",
    "What is the style of the jeans pants?": "casual",
    "Is this person wearing hat?": "no",
}
"""A scripted model's answers; it says "no" to everything else."""


class ScriptedVqa:
    """Answers from one table for each picture, which is told by its upper left pixel, and remembers the calls."""

    def __init__(self, *tables: dict[str, str]) -> None:
        self.tables = tables
        self.calls: list[list[tuple[int, str]]] = []

    def answer(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        people = [int(image[0, 0, 0]) for image in images]
        self.calls.append(list(zip(people, questions, strict=True)))
        return [self.tables[person].get(question, "no") for person, question in self.calls[-1]]


def person(number: int = 0) -> np.ndarray:
    return np.full((8, 6, 3), number, np.uint8)


def count_words(text: str) -> int:
    """As CLIP would count words that it knows: one each, one a comma, a start and an end."""
    return len(text.replace(",", " ,").split()) + 2


def count_letters(text: str) -> int:
    return len(text) + 2


@pytest.fixture(scope="module")
def count_clip() -> Callable[[str], int]:
    """CLIP's own tokenizer with a vocabulary of letters and two merges, so that most words take several tokens."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    merges = [("j", "e"), ("b", "l")]
    entries = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "je", "bl"]
    tokenizer = CLIPTokenizer(vocab={entry: index for index, entry in enumerate(entries)}, merges=merges)
    return lambda text: len(tokenizer(text)["input_ids"])


def describe(table: dict[str, str], *, max_tokens: int = 77, count: Callable[[str], int] = count_words) -> Description:
    return Describer(ScriptedVqa(table), count, max_tokens=max_tokens).describe([person()])[0]


def wearing(**kinds: str) -> dict[str, str]:
    """Answers about garments, each of its kind and white."""
    table = {}
    for garment, kind in kinds.items():
        name = " ".join(dict.fromkeys([*kind.split(), garment]))
        table |= {
            f"Is this person wearing {garment}?": "yes",
            f"What {garment} is the person wearing?": kind,
            f"What is the color of the {name}?": "white",
        }
    return table


def test_questions_are_table_b_in_its_order() -> None:
    described = describe(MAN)
    assert list(described.answers) == [
        *FIXED[:4],
        "How is the facial hair of this person?",
        FIXED[4],
        *WEARING[:3],
        "What upper-clothes is the person wearing?",
        "What is the color of the shirt upper-clothes?",
        "What is the style of the shirt upper-clothes?",
        *WEARING[3:5],
        "What pants is the person wearing?",
        "What is the color of the jeans pants?",
        "What is the style of the jeans pants?",
        *WEARING[5:],
    ]
    assert described.answers["Is this person wearing pants?"] == "yes, jeans"


def test_ten_garments_of_the_paper() -> None:
    assert GARMENTS == (
        "hat", "sunglasses", "upper-clothes", "skirt", "pants", "dress", "belt", "shoes", "bag", "scarf",
    )  # fmt: skip


def test_three_calls_whoever_and_however_many() -> None:
    vqa = ScriptedVqa(MAN, {}, wearing(dress="dress"))
    Describer(vqa, count_words).describe([person(0), person(1), person(2)])
    first, kinds, details = vqa.calls
    assert first == list(itertools.product(range(3), [*FIXED, *WEARING]))
    assert kinds == [
        (0, "How is the facial hair of this person?"),
        (0, "What upper-clothes is the person wearing?"),
        (0, "What pants is the person wearing?"),
        (2, "What dress is the person wearing?"),
    ]
    assert details[-2:] == [(2, "What is the color of the dress?"), (2, "What is the style of the dress?")]


def test_one_call_for_a_person_without_anything() -> None:
    vqa = ScriptedVqa({})
    Describer(vqa, count_words).describe([person()])
    assert len(vqa.calls) == 1
    assert Describer(vqa, count_words).describe([]) == [] and len(vqa.calls) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("yes", True),
        ("Yes.", True),
        ("yes, a hat", True),
        (" YES ", True),
        ("no", False),
        ("No, yes", False),
        ("eyes", False),
        ("yesterday", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_followed_up_only_after_a_yes(answer: str, expected: bool) -> None:
    assert is_yes(answer) == expected
    table = {"Is this person wearing hat?": answer, "Does this person have facial hair?": answer}
    asked = describe(table).answers
    assert ("What hat is the person wearing?" in asked) == expected
    assert ("How is the facial hair of this person?" in asked) == expected


@pytest.mark.parametrize("answer", ["yes", "", "none", "Unknown.", "no", "not sure", "I don't know", "?"])
def test_a_kind_that_says_nothing_is_left_out_of_the_questions(answer: str) -> None:
    described = describe({"Is this person wearing hat?": "yes", "What hat is the person wearing?": answer})
    assert "What is the color of the hat?" in described.answers
    assert described.sentence == "person, hat"


def test_sentence() -> None:
    assert describe(MAN) == Description(
        sentence="man, casual black shirt, black jeans pants, brown short hair, standing, trimmed beard",
        num_tokens=20,
        answers=describe(MAN).answers,
        cut=(),
    )
    assert Describer(ScriptedVqa(MAN), count_words)([person()]) == [describe(MAN).sentence]


def test_repeated_words_are_said_once_and_colours_once_a_phrase() -> None:
    table = wearing(hat="white cap", shoes="shoes", scarf="white")
    table["What is the style of the white cap hat?"] = "white cap"
    table["What is the hairstyle of this person?"] = "long long hair"
    table["Describe the pose of this person."] = "standing in shoes"
    assert describe(table).sentence == "person, white shoes, white scarf, white cap hat, long hair, standing in"


def test_garments_of_one_kind() -> None:
    assert describe(wearing(dress="dress", skirt="dress")).sentence == "person, white dress, white skirt"

    # Both names come out as "skirt dress": one question, one answer.
    vqa = ScriptedVqa(wearing(dress="skirt", skirt="skirt dress"))
    assert Describer(vqa, count_words)([person()]) == ["person, white skirt dress, white skirt"]
    assert vqa.calls[-1].count((0, "What is the color of the skirt dress?")) == 1


@pytest.mark.parametrize("answer", ["", "unknown", "no", "yes", "none"])
def test_nothing_known_is_the_generic_prompt(answer: str) -> None:
    described = describe(dict.fromkeys(questions({}), answer) | dict.fromkeys(WEARING, "no"))
    assert described.sentence == (GENERIC_DESCRIPTION if answer != "yes" else "person, beard")


def test_facial_hair() -> None:
    table = {"Is this person a man or a woman?": "man", "Does this person have facial hair?": "yes"}
    how = "How is the facial hair of this person?"
    assert describe(table).sentence == "man, beard"
    assert describe(table | {how: "Full beard"}).sentence == "man, full beard"
    assert describe(table | {how: "mustache"}).sentence == "man, mustache"
    assert describe(table | {how: "short", "Does this person have facial hair?": "no"}).sentence == "man"


def test_the_budget_goes_to_the_salient_words_first() -> None:
    table = MAN | {"What is the style of the shirt upper-clothes?": "loose", "Describe the pose of this person.": "sat"}
    lengths = {
        21: ("man, loose black shirt, casual black jeans pants, brown short hair, sat, trimmed beard", ()),
        20: ("man, loose black shirt, black jeans pants, brown short hair, sat, trimmed beard", ("casual pants",)),
        19: (
            "man, black shirt, black jeans pants, brown short hair, sat, trimmed beard",
            ("loose upper-clothes", "casual pants"),
        ),
        16: (
            "man, black shirt, black jeans pants, brown short hair, sat",
            ("trimmed beard", "loose upper-clothes", "casual pants"),
        ),
        # What is left over goes to the next that fits.
        7: (
            "man, loose black shirt",
            ("black jeans pants", "brown short hair", "sat", "trimmed beard", "casual pants"),
        ),
    }
    for max_tokens, (sentence, cut) in lengths.items():
        described = describe(table, max_tokens=max_tokens)
        assert (described.sentence, described.cut) == (sentence, cut)


def test_the_budget_holds_for_clips_tokenizer(count_clip: Callable[[str], int]) -> None:
    assert count_clip("blue, jeans") == 3 + 1 + 4 + 2
    described = describe(MAN, count=count_clip)
    assert described.num_tokens == count_clip(described.sentence) == 72
    assert described.sentence == "man, casual black shirt, black jeans pants, brown short hair, standing, trimmed beard"
    described = describe(MAN | {"Describe the pose of this person.": "standing upright"}, count=count_clip)
    assert (
        described.sentence == "man, black shirt, black jeans pants, brown short hair, standing upright, trimmed beard"
    )
    assert described.num_tokens == 73 and described.cut == ("casual upper-clothes", "casual pants")


def test_a_phrase_too_long_makes_room_for_the_next() -> None:
    rambling = " ".join(f"word{number}" for number in range(100))
    described = describe(MAN | {"What upper-clothes is the person wearing?": rambling})
    assert described.sentence.startswith("man, casual black jeans pants, brown short hair")
    assert described.cut == (rambling,)


def test_no_budget_for_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens must leave room for 'a photo of a human', got 6"):
        describe(MAN, max_tokens=6)


ANSWERS = st.one_of(
    st.sampled_from(["yes", "no", "", "unknown", "yes, red", "a long, long red coat", "red", "black and white"]),
    st.text(max_size=30),
)


class AnyVqa:
    """Gives each new question the next of some answers, round and round, and an old one what it got."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = itertools.cycle(answers)
        self.table: dict[str, str] = {}
        self.calls = 0

    def answer(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        self.calls += 1
        return [self.table.setdefault(question, next(self.answers)) for question in questions]


@given(
    answers=st.lists(ANSWERS, min_size=1, max_size=20),
    count=st.sampled_from([count_words, count_letters]),
    max_tokens=st.integers(20, 77),
)
def test_whatever_is_answered(answers: list[str], count: Callable[[str], int], max_tokens: int) -> None:
    vqa = AnyVqa(answers)
    describer = Describer(vqa, count, max_tokens=max_tokens)
    described = describer.describe([person()])[0]
    assert vqa.calls <= 3
    assert described.num_tokens == count(described.sentence) <= max_tokens
    assert describer.compose(described.answers) == described  # nothing but the answers decides
    assert [question for question in described.answers if question in {*FIXED, *WEARING}] == [*FIXED, *WEARING]
    richer = Describer(vqa, count, max_tokens=10_000).compose(described.answers)
    assert richer.cut == () and (richer.sentence == described.sentence or described.cut)
    if described.sentence != GENERIC_DESCRIPTION:
        phrases = [phrase.split() for phrase in described.sentence.split(", ")]
        assert all(phrase and len({*phrase}) == len(phrase) for phrase in phrases)
        assert {*itertools.chain(*phrases)} <= {*richer.sentence.replace(",", "").split()}


@given(st.text(max_size=60))
def test_informative_words_are_words(answer: str) -> None:
    words = informative_words(answer)
    assert len({*words}) == len(words)
    assert all(word == word.lower() and len(word.split()) == 1 for word in words)
    assert informative_words(f"Yes, {answer}") == informative_words(" ".join(words)) or not words


# BLIP in miniature: the real classes, two layers, a vocabulary of the questions' own words.

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] is this person a man or woman ? what the hair color of red blue hat yes no"
QUESTIONS = ["Is this person a man or a woman?", "What is the hair color of this person?", "hat"]


def tiny_blip(seed: int = 0) -> tuple[Any, Any]:
    from transformers import BertTokenizer, BlipConfig, BlipForQuestionAnswering, BlipProcessor
    from transformers.models.blip import BlipImageProcessorPil

    words = WORDS.split()
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    processor = BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BlipConfig(
        text_config=size
        | {
            "vocab_size": len(words) + 1,
            "encoder_hidden_size": 32,
            "bos_token_id": len(words),  # as BLIP's [DEC], which its tokenizer does not know either
            "sep_token_id": 3,
            "pad_token_id": 0,
            "max_position_embeddings": 64,
            "initializer_range": 0.5,
        },
        vision_config=size | {"image_size": 32, "patch_size": 16, "initializer_range": 0.5},
    )
    torch.manual_seed(seed)
    return BlipForQuestionAnswering(config), processor


@pytest.fixture(scope="module")
def blip() -> tuple[Any, Any]:
    return tiny_blip()


def test_blip_answers_a_batch_as_it_answers_singles(blip: tuple[Any, Any]) -> None:
    pictures = [photograph(40, 50, seed=seed) for seed in range(3)]
    pairs = list(itertools.product(pictures, QUESTIONS))
    images, asked = [image for image, _ in pairs], [question for _, question in pairs]
    vqa = BlipVqa(*blip)
    answers = vqa.answer(images, asked)
    assert answers == [vqa.answer([image], [question])[0] for image, question in pairs]
    assert answers == BlipVqa(*blip, batch_size=4).answer(images, asked)
    assert all(isinstance(answer, str) for answer in answers) and len({*answers}) > 2
    assert not any("[" in answer for answer in answers)


def test_blip_answers_as_transformers_does(blip: tuple[Any, Any]) -> None:
    """One question at a time, where theirs has no padding to attend to."""
    model, processor = blip
    image = photograph(40, 50)
    for question in QUESTIONS:
        inputs = processor(images=image, text=question, return_tensors="pt")
        theirs = model.generate(**inputs, max_new_tokens=20, do_sample=False)[:, 1:]
        assert BlipVqa(*blip)._generate([image], [question]).tolist() == theirs.tolist()


def test_blip_encodes_a_picture_once_a_call(blip: tuple[Any, Any]) -> None:
    encoded: list[int] = []
    hook = blip[0].vision_model.register_forward_hook(lambda *call: encoded.append(len(call[2].last_hidden_state)))
    first, second = photograph(), photograph(seed=1)
    BlipVqa(*blip).answer([first, first, second, first], ["hat"] * 4)
    hook.remove()
    assert encoded == [2]


def test_blip_wants_an_image_for_each_question(blip: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="one image for each question, got 1 and 2"):
        BlipVqa(*blip).answer([photograph()], ["hat", "hat"])
    assert BlipVqa(*blip).answer([], []) == []


def test_describer_from_a_folder(blip: tuple[Any, Any], tmp_path: Path) -> None:
    for part in blip:
        part.save_pretrained(tmp_path)
    describer = load_describer(tmp_path, count_tokens=count_words, device="cpu")
    described = describer.describe([photograph(), photograph(60, 40, seed=1)])
    assert described == describer.describe([photograph(), photograph(60, 40, seed=1)])
    assert [*FIXED, *WEARING] == [question for question in described[0].answers if question in {*FIXED, *WEARING}]
    with pytest.raises(InputError, match=r"not the weights of BlipForImageTextRetrieval: .* are missing"):
        load_pretrained(
            "BlipForImageTextRetrieval",
            "BlipProcessor",
            tmp_path,
            dtype=torch.float32,
            local_files_only=True,
            revision=None,
        )
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=f"{tmp_path}: cannot load BlipForQuestionAnswering from there"):
        load_describer(tmp_path, count_tokens=count_words, device="cpu")


@pytest.mark.parametrize("place", ["nowhere", "Salesforce/blip-vqa-base"])
def test_no_weights(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=f"{place}: cannot load BlipForQuestionAnswering from there") as raised:
        load_describer(place, count_tokens=count_words, device="cpu")
    assert "\n" not in str(raised.value)
