"""Words for the RGB stage: what a visual question answering model says about a person (paper A, A.2, Table B)."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from deocclude.conditioning.pretrained import load_pretrained

if TYPE_CHECKING:
    from torch import Tensor

GENERIC_DESCRIPTION = "a photo of a human"
"""The generic text prompt of Table K, and what is said of a person about whom the model knows nothing."""
MAX_TOKENS = 77
"""What CLIP's text encoder reads, start and end tokens included."""

MAN_OR_WOMAN = "Is this person a man or a woman?"
HAIR_COLOUR = "What is the hair color of this person?"
HAIRSTYLE = "What is the hairstyle of this person?"
HAS_FACIAL_HAIR = "Does this person have facial hair?"
FACIAL_HAIR = "How is the facial hair of this person?"
POSE = "Describe the pose of this person."
GARMENTS = ("hat", "sunglasses", "upper-clothes", "skirt", "pants", "dress", "belt", "shoes", "bag", "scarf")
"""The paper's g, in its order: that of the questions."""

_BY_AREA = ("dress", "upper-clothes", "pants", "skirt", "shoes", "bag", "scarf", "hat", "belt", "sunglasses")
"""Garments by the pixels that they usually cover: the order in which they are said."""
_BEARDS = frozenset({"beard", "mustache", "moustache", "goatee", "stubble", "sideburns"})
_ARTICLES = frozenset({"a", "an", "the"})
_NOTHING = frozenset(
    {"no", "not", "none", "nothing", "unknown", "unclear", "unsure", "cannot", "can't", "don't", "i", "na", "n/a"}
)
"""First words of answers that say nothing: "unknown", "cannot tell", "I don't know"."""


class VqaModel(Protocol):
    """Answers questions about pictures."""

    def answer(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        """One answer for each question, about the image at its place: uint8 (H, W, 3), the same one many times over."""
        ...


@dataclass(frozen=True)
class Description:
    """What is said of one person.

    sentence: the prompt, never longer than the describer's budget.
    num_tokens: its length, start and end tokens included.
    answers: question to answer as the model gave it, in the order of Table B.
    cut: the phrases that found no room, most salient first.
    """

    sentence: str
    num_tokens: int
    answers: dict[str, str]
    cut: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """Words that are said together or left out together.

    topic: what they are about; the parts of one topic make one phrase.
    words: of an answer; those that were said before are left out.
    colour: of an answer; may be said again of something else.
    noun: ours, and always said: the end of the phrase.
    is_detail: goes before what is said of the topic, and nowhere without it.
    """

    topic: str
    words: list[str]
    colour: list[str] = field(default_factory=list)
    noun: str = ""
    is_detail: bool = False

    def phrase(self, said: set[str]) -> list[str]:
        """Colour, words that are not in `said`, noun; empty where nothing is left to say."""
        words = [word for word in self.words if word not in said and word != self.noun]
        # Nobody calls a shirt a "shirt upper-clothes" (so TeCH).
        noun = [self.noun] if self.noun and not (self.noun == "upper-clothes" and words) else []
        return [*(word for word in self.colour if word not in {*words, *noun}), *words, *noun]


class Describer:
    """Asks Table B's questions about people and makes a sentence of each one's answers.

    Questions that wait for no answer go to the model in one call, for all people at once; a person with a garment
    costs three calls: the fixed questions, the kinds, the colours and styles.

    Readings taken of A.2:
    - All ten garments are asked about. TeCH, where the questions come from, lists garments with a segmentation first
      and takes upper-clothes, pants and skirt for granted where it sees no dress; the paper mentions neither.
    - k + g is the kind followed by the garment, without words that would come twice ("dress", not "dress dress").
    - "Remove repeated words": a word that an answer repeats is not said again, but for colours, which may come again
      in another phrase. Without the exception "black pants, black shoes" would leave shoes of any colour.
    - "Concatenate": as in TeCH, one phrase a garment, here style, colour, kind, garment; commas between the phrases.

    vqa: any `VqaModel`.
    count_tokens: text to its number of tokens, start and end included; `SentenceEncoder.count_tokens` is one.
    """

    def __init__(self, vqa: VqaModel, count_tokens: Callable[[str], int], *, max_tokens: int = MAX_TOKENS) -> None:
        if max_tokens < count_tokens(GENERIC_DESCRIPTION):
            raise ValueError(f"max_tokens must leave room for '{GENERIC_DESCRIPTION}', got {max_tokens}")
        self.vqa = vqa
        self.count_tokens = count_tokens
        self.max_tokens = max_tokens

    def __call__(self, images: Sequence[np.ndarray]) -> list[str]:
        """A sentence about the person in each image, uint8 (H, W, 3)."""
        return [description.sentence for description in self.describe(images)]

    def describe(self, images: Sequence[np.ndarray]) -> list[Description]:
        """What is said of the person in each image, uint8 (H, W, 3), occluder included: a photograph or a crop."""
        answers: list[dict[str, str]] = [{} for _ in images]
        while pending := [
            (person, question)
            for person, known in enumerate(answers)
            for question in dict.fromkeys(questions(known))
            if question not in known
        ]:
            replies = self.vqa.answer([images[person] for person, _ in pending], [question for _, question in pending])
            for (person, question), reply in zip(pending, replies, strict=True):
                answers[person][question] = reply
        return [self.compose({question: known[question] for question in questions(known)}) for known in answers]

    def compose(self, answers: dict[str, str]) -> Description:
        """The sentence that answers to Table B's questions make; questions may be missing."""
        phrases: dict[str, list[str]] = {}
        cut: list[str] = []
        for part in _parts(answers):
            phrase = part.phrase({word for said in phrases.values() for word in said})
            if not phrase:
                continue
            longer = phrases | {part.topic: [*phrase, *phrases.get(part.topic, [])]}
            is_orphan = part.is_detail and part.topic not in phrases
            if is_orphan or self.count_tokens(_sentence(longer)) > self.max_tokens:
                cut.append(" ".join([*phrase, part.topic] if part.is_detail else phrase))
            else:
                phrases = longer
        sentence = _sentence(phrases) or GENERIC_DESCRIPTION
        return Description(sentence, self.count_tokens(sentence), answers, tuple(cut))


class BlipVqa:
    """`VqaModel` round transformers' BlipForQuestionAnswering. Decoding is greedy: the same answer every time.

    model, processor: a BlipForQuestionAnswering and its BlipProcessor.
    batch_size: questions at once.
    """

    def __init__(self, model: Any, processor: Any, *, max_new_tokens: int = 20, batch_size: int = 64) -> None:
        self.model = model.eval()
        self.processor = processor
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size

    @torch.inference_mode()
    def answer(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        """One answer for each question, about the image, uint8 (H, W, 3), at its place."""
        if len(images) != len(questions):
            raise ValueError(f"expected one image for each question, got {len(images)} and {len(questions)}")
        answers: list[str] = []
        for start in range(0, len(questions), self.batch_size):
            batch = slice(start, start + self.batch_size)
            tokens = self._generate(images[batch], questions[batch])
            answers += self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [answer.strip() for answer in answers]

    def _generate(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> Tensor:
        """Tokens of the answers, (B, L), without the start token.

        BlipForQuestionAnswering.generate would do, but for two things: it encodes the picture anew for every question,
        and its decoder attends to the padding of the shorter questions, so that an answer depends on its batch.
        """
        model = self.model
        features = self._encode_images(images)
        inputs = self.processor(text=list(questions), padding=True, return_tensors="pt").to(model.device)
        encoded = model.text_encoder(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            encoder_hidden_states=features,
            encoder_attention_mask=torch.ones_like(features[..., 0], dtype=torch.long),
            return_dict=False,
        )[0]
        tokens = model.text_decoder.generate(
            input_ids=torch.full_like(inputs.input_ids[:, :1], model.decoder_start_token_id),
            eos_token_id=model.config.text_config.sep_token_id,
            pad_token_id=model.config.text_config.pad_token_id,
            encoder_hidden_states=encoded,
            encoder_attention_mask=inputs.attention_mask,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            num_beams=1,
        )
        return tokens[:, 1:]

    def _encode_images(self, images: Sequence[np.ndarray]) -> Tensor:
        """Features of the image of each question, (B, N, C); an array that comes again is encoded once."""
        distinct = {id(image): image for image in images}
        inputs = self.processor(images=list(distinct.values()), input_data_format="channels_last", return_tensors="pt")
        pixels = inputs.pixel_values.to(self.model.device, self.model.dtype)
        features = self.model.vision_model(pixel_values=pixels).last_hidden_state
        places = {key: place for place, key in enumerate(distinct)}
        return features[[places[id(image)] for image in images]]


def load_describer(
    folder_or_repo: str | Path,
    *,
    count_tokens: Callable[[str], int],
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = True,
    revision: str | None = None,
) -> Describer:
    """A describer with BLIP's weights, from a folder or the hub ("Salesforce/blip-vqa-base", BSD-3-Clause).

    count_tokens: of the text encoder that will read the sentence: `SentenceEncoder.count_tokens`.
    local_files_only: download nothing. Raises InputError where the weights are not there whole.
    """
    model, processor = load_pretrained(
        "BlipForQuestionAnswering",
        "BlipProcessor",
        folder_or_repo,
        dtype=dtype,
        local_files_only=local_files_only,
        revision=revision,
    )
    return Describer(BlipVqa(model.to(device), processor), count_tokens)


def questions(answers: dict[str, str]) -> Iterator[str]:
    """Table B's questions that can be asked once `answers` are known, those included, in its order."""
    yield from (MAN_OR_WOMAN, HAIR_COLOUR, HAIRSTYLE, HAS_FACIAL_HAIR)
    if is_yes(answers.get(HAS_FACIAL_HAIR)):
        yield FACIAL_HAIR
    yield POSE
    for garment in GARMENTS:
        yield _wearing(garment)
        if is_yes(answers.get(_wearing(garment))):
            yield _kind(garment)
            if _kind(garment) in answers:
                name = _garment_name(answers[_kind(garment)], garment)
                yield from (_colour(name), _style(name))


def is_yes(answer: str | None) -> bool:
    """Whether an answer is affirmative: "yes", "Yes.", "yes, a hat"."""
    return answer is not None and _words(answer)[:1] == ["yes"]


def _wearing(garment: str) -> str:
    return f"Is this person wearing {garment}?"


def _kind(garment: str) -> str:
    return f"What {garment} is the person wearing?"


def _colour(garment_name: str) -> str:
    return f"What is the color of the {garment_name}?"


def _style(garment_name: str) -> str:
    return f"What is the style of the {garment_name}?"


def _garment_name(kind: str, garment: str) -> str:
    """k + g, no word twice."""
    return " ".join(dict.fromkeys([*informative_words(kind), garment]))


def _words(text: str) -> list[str]:
    """Lower-case words without the punctuation round them."""
    bare = (word.strip(string.punctuation) for word in text.lower().replace(",", " ").split())
    return [word for word in bare if word]


def informative_words(answer: str | None) -> list[str]:
    """What an answer says, as words, none of them twice; empty for "no", "none", "unknown" and the like.

    A leading "yes" and articles are left out: they would be counted and say nothing.
    """
    words = _words(answer or "")
    if words[:1] == ["yes"]:
        words = words[1:]
    if words and words[0] in _NOTHING:
        return []
    return list(dict.fromkeys(word for word in words if word not in _ARTICLES))


def _parts(answers: dict[str, str]) -> list[_Part]:
    """Everything that the answers say, the most salient first; some parts may be empty.

    Man or woman; the garments with their colours, by the area they cover, for there the RGB stage has most to invent;
    hair; the pose, most of which the amodal mask shows already; facial hair, a few pixels; last the garments' styles
    ("casual"), which change their pixels least.
    """
    said_of = {question: informative_words(answer) for question, answer in answers.items()}

    def words(question: str) -> list[str]:
        return said_of.get(question, [])

    garments, styles = [], []
    for garment in _BY_AREA:
        if is_yes(answers.get(_wearing(garment))):
            name = _garment_name(answers.get(_kind(garment), ""), garment)
            garments.append(_Part(garment, words(_kind(garment)), words(_colour(name)), noun=garment))
            styles.append(_Part(garment, words(_style(name)), is_detail=True))
    hair = [_Part("hair", words(HAIRSTYLE), words(HAIR_COLOUR), noun="hair")]
    pose = _Part("pose", words(POSE))
    facial = words(FACIAL_HAIR)
    beard = [_Part("facial hair", facial, noun="" if _BEARDS & {*facial} else "beard")]
    has_hair, has_beard = words(HAIRSTYLE) or words(HAIR_COLOUR), is_yes(answers.get(HAS_FACIAL_HAIR))
    parts = [*garments, *(hair if has_hair else []), pose, *(beard if has_beard else []), *styles]
    somebody = words(MAN_OR_WOMAN) or (["person"] if any(part.phrase(set()) for part in parts) else [])
    return [_Part("person", somebody), *parts]


def _sentence(phrases: dict[str, list[str]]) -> str:
    return ", ".join(" ".join(phrase) for phrase in phrases.values())
