"""The ComfyUI node pack, loaded and run the way ComfyUI does, with miniature stages.

What ComfyUI does is written down here a second time, shortly: how it imports a folder of `custom_nodes`, what it checks
of a prompt, and how it calls a node once for each element of a list.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from miniatures import (
    GrowDown,
    Noise,
    Paint,
    RedSegmenter,
    photograph,
    with_red_person,
    write_assets,
)
from scipy import ndimage
from torch import Tensor

from deocclude import weights
from deocclude.errors import InputError
from deocclude.masks import mask_box
from deocclude.pipelines.deoccluder import Deoccluder
from deocclude.pipelines.scene import SceneDeoccluder
from deocclude.stages.catalogue import stage_specs
from deocclude.stages.completers.trivial import CopyInputMask, CopyInputRgb
from deocclude.types import Person

PACK = Path(__file__).resolve().parents[1] / "integrations" / "comfyui"
WORKFLOW = json.loads((PACK / "example_workflows" / "deocclude.json").read_text("utf-8"))
API_WORKFLOW = json.loads((PACK / "deocclude_api.json").read_text("utf-8"))
BOXES = [(10, 8, 30, 28), (50, 20, 62, 36)]
"""Two people, the larger first."""


class RedPeople:
    """Every connected red region is a person."""

    name = "red people"

    def __call__(self, image: np.ndarray) -> list[Person]:
        labels, count = ndimage.label((image[..., 0] > 200) & (image[..., 1] < 50))
        people = [Person(mask_box(labels == one) or (0, 0, 0, 0), labels == one) for one in range(1, count + 1)]
        return sorted(people, key=lambda person: -int(person.modal_mask.sum()))


MASK_STAGES = {"feedforward": GrowDown, "copy-input": CopyInputMask}
RGB_STAGES = {"feedforward": Paint, "diffusion": Noise, "copy-input": CopyInputRgb}


def miniature_scenes(
    name: str, *, mask_stage: str, rgb_stage: str, device: str = "cpu", finder: str = "embedded"
) -> SceneDeoccluder:
    if mask_stage not in MASK_STAGES:
        raise InputError(f"{mask_stage}: its weights are missing; deocclude weights says how to get them")
    stages = MASK_STAGES[mask_stage](), RGB_STAGES[rgb_stage]()
    return SceneDeoccluder(Deoccluder(RedSegmenter(), *stages, device=device), RedPeople())


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The pack as ComfyUI imports it: by path, under a name that is no identifier."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "deocclude 0.1-nodes"
    shutil.copytree(PACK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(name)]:
        del sys.modules[loaded]


@pytest.fixture
def nodes(pack: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The pack's module of nodes, with miniature stages."""
    module = sys.modules[pack.FindPeople.__module__]
    monkeypatch.setattr(SceneDeoccluder, "from_preset", staticmethod(miniature_scenes))
    module._kept.clear()
    return module


def picture(boxes: list[tuple[int, int, int, int]] = BOXES, *, seed: int = 0, channels: int = 3) -> Tensor:
    """An IMAGE [1, 64, 96, C] with red people, of values that 8 bits do not hold."""
    image = photograph(seed=seed)
    for box in boxes:
        image, _ = with_red_person(image, box)
    exact = torch.from_numpy(image)[None].float() / 255
    noise = torch.rand(exact.shape, generator=torch.Generator().manual_seed(seed)) * 1e-3
    exact = (exact + noise).clamp(0, 1)
    return exact if channels == 3 else torch.cat([exact, torch.ones_like(exact[..., :1])], dim=-1)


def masks(boxes: list[tuple[int, int, int, int]] = BOXES) -> Tensor:
    result = torch.zeros(len(boxes), 64, 96)
    for row, (x0, y0, x1, y1) in zip(result, boxes, strict=True):
        row[y0:y1, x0:x1] = 1
    return result


def completed(
    nodes: ModuleType, image: Tensor, modal: Tensor, *, rgb_stage: str = "feedforward", seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, str]:
    amodal, _ = nodes.CompleteMask().complete(image, modal, "feedforward", "cpu")
    return (amodal, *nodes.CompletePerson().complete(image, modal, amodal, rgb_stage, "cpu", seed))


# --- conventions ---


def classes(pack: ModuleType) -> dict[str, type]:
    return dict(pack.NODE_CLASS_MAPPINGS)


def test_every_node_keeps_comfyuis_conventions(pack: ModuleType) -> None:
    assert set(pack.NODE_DISPLAY_NAME_MAPPINGS) == set(classes(pack)) and len(classes(pack)) == 4
    for node in classes(pack).values():
        inputs = node.INPUT_TYPES()
        assert set(inputs) <= {"required", "optional", "hidden"}
        assert callable(getattr(node(), node.FUNCTION)) and node.CATEGORY and node.DESCRIPTION
        count = len(node.RETURN_TYPES)
        assert count == len(node.RETURN_NAMES) == len(node.OUTPUT_TOOLTIPS)
        assert len(getattr(node, "OUTPUT_IS_LIST", (False,) * count)) == count
        assert set(node.RETURN_TYPES) <= {"IMAGE", "MASK", "STRING"}


def test_the_function_takes_what_input_types_names(pack: ModuleType) -> None:
    for node in classes(pack).values():
        function = getattr(node, node.FUNCTION)
        names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
        assert list(names) == [name for group in node.INPUT_TYPES().values() for name in group]


def test_defaults_are_inside_their_ranges(pack: ModuleType) -> None:
    widgets = [
        spec for node in classes(pack).values() for spec in node.INPUT_TYPES()["required"].values() if is_widget(spec)
    ]
    assert len(widgets) == 7
    for spec in widgets:
        assert problem(spec, spec[1]["default"]) is None


def test_the_menus_offer_what_the_catalogue_has(pack: ModuleType) -> None:
    for node, widget, kind in ((pack.CompleteMask, "mask_stage", "mask"), (pack.CompletePerson, "rgb_stage", "RGB")):
        offered = node.INPUT_TYPES()["required"][widget][0]
        assert offered == [name for name, spec in stage_specs(kind).items() if spec.listed]


def test_the_pack_runs_no_code_of_others() -> None:
    """No eval, no process, no network, no file: read from the source, which imports very little."""
    for path in PACK.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & {"eval", "exec", "compile", "open", "__import__", "torch.load", "getattr", "setattr"}
        modules = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
        }
        allowed = {"__future__", "collections", "dataclasses", "gc", "json", "logging", "typing"}
        assert modules <= allowed | {"deocclude", "numpy", "torch"}


def test_the_registry_finds_what_it_asks_for() -> None:
    project = tomllib.loads((PACK / "pyproject.toml").read_text("utf-8"))
    assert set(project["tool"]["comfy"]) >= {"PublisherId", "DisplayName"}
    assert "comfyui" not in project["project"]["name"].lower()
    assert [part.isdigit() for part in project["project"]["version"].split(".")] == [True] * 3
    assert project["project"]["dependencies"] == (PACK / "requirements.txt").read_text("utf-8").split()


# --- a workflow ---


def is_widget(spec: tuple[Any, ...]) -> bool:
    return isinstance(spec[0], list) or spec[0] in ("INT", "FLOAT", "STRING", "BOOLEAN")


def problem(spec: tuple[Any, ...], value: Any) -> str | None:
    """What ComfyUI would say against a widget's value; None for nothing."""
    if isinstance(spec[0], list):
        return None if value in spec[0] else f"{value} not in {spec[0]}"
    assert spec[0] == "INT"
    inside = isinstance(value, int) and spec[1]["min"] <= value <= spec[1]["max"]
    return None if inside else f"{value} is out of range"


class LoadImage:
    FUNCTION, RETURN_TYPES = "load", ("IMAGE", "MASK")
    loaded: ClassVar[list[Tensor]] = []

    def load(self, image: str) -> tuple[Tensor, Tensor]:
        return self.loaded[0], torch.zeros(1, 64, 64)


class SaveImage:
    FUNCTION, RETURN_TYPES = "save", ()
    saved: ClassVar[dict[str, list[Tensor]]] = {}

    def save(self, images: Tensor, filename_prefix: str = "preview") -> tuple[()]:
        self.saved.setdefault(filename_prefix, []).extend(images)
        return ()


class MaskToImage:
    FUNCTION, RETURN_TYPES = "convert", ("IMAGE",)

    def convert(self, mask: Tensor) -> tuple[Tensor]:
        return (mask[..., None].expand(-1, -1, -1, 3),)


CORE = {"LoadImage": LoadImage, "SaveImage": SaveImage, "PreviewImage": SaveImage, "MaskToImage": MaskToImage}


def execute(node: type, inputs: dict[str, list[Any]]) -> list[list[Any]]:
    """Every output as a list: the node called once for each element, the last one of a shorter input again."""
    calls = max(map(len, inputs.values()), default=1)
    outputs: list[list[Any]] = [[] for _ in node.RETURN_TYPES]
    is_list = getattr(node, "OUTPUT_IS_LIST", (False,) * len(outputs))
    for call in range(calls):
        given = {name: values[min(call, len(values) - 1)] for name, values in inputs.items()}
        for output, value, extends in zip(outputs, getattr(node(), node.FUNCTION)(**given), is_list, strict=True):
            output.extend(value if extends else [value])
    return outputs


def run(prompt: dict[str, Any], pack: ModuleType) -> dict[str, list[list[Any]]]:
    """A workflow in API format from its beginning to its end; its nodes are listed in order."""
    done: dict[str, list[list[Any]]] = {}
    with torch.inference_mode():
        for id, node in prompt.items():
            inputs = {
                name: done[value[0]][value[1]] if isinstance(value, list) else [value]
                for name, value in node["inputs"].items()
            }
            done[id] = execute((CORE | classes(pack))[node["class_type"]], inputs)
    return done


def test_the_workflows_nodes_and_links_exist(pack: ModuleType) -> None:
    nodes = {node["id"]: node for node in WORKFLOW["nodes"]}
    known = CORE | classes(pack)
    assert max(nodes) == WORKFLOW["last_node_id"] and len(nodes) == len(WORKFLOW["nodes"])
    assert {node["type"] for node in nodes.values()} <= set(known)
    assert {node["type"] for node in nodes.values()} >= set(classes(pack))
    for id, source, output, target, slot, kind in WORKFLOW["links"]:
        assert id <= WORKFLOW["last_link_id"]
        assert id in nodes[source]["outputs"][output]["links"] and nodes[target]["inputs"][slot]["link"] == id
        assert nodes[source]["outputs"][output]["type"] == nodes[target]["inputs"][slot]["type"] == kind
        assert known[nodes[source]["type"]].RETURN_TYPES[output] == kind
    linked = [link for node in nodes.values() for output in node["outputs"] for link in output["links"] or []]
    assert sorted(linked) == [link[0] for link in WORKFLOW["links"]]


def test_the_workflows_nodes_are_as_the_pack_has_them(pack: ModuleType) -> None:
    ours = [node for node in WORKFLOW["nodes"] if node["type"] in classes(pack)]
    assert len(ours) == 4
    for node in ours:
        kind = classes(pack)[node["type"]]
        specs = kind.INPUT_TYPES()["required"]
        sockets = [(name, spec[0]) for name, spec in specs.items() if not is_widget(spec)]
        assert [(one["name"], one["type"]) for one in node["inputs"]] == sockets
        outputs = [(one["name"], one["type"]) for one in node["outputs"]]
        assert outputs == list(zip(kind.RETURN_NAMES, kind.RETURN_TYPES, strict=True))
        widgets = [spec for spec in specs.values() if is_widget(spec)]
        after_generate = [spec for spec in widgets if spec[1].get("control_after_generate")]
        assert len(node["widgets_values"]) == len(widgets) + len(after_generate)
        for spec, value in zip(widgets, node["widgets_values"], strict=False):  # the extra one stands last
            assert problem(spec, value) is None


def test_both_formats_are_one_workflow(pack: ModuleType) -> None:
    links = {link[0]: [str(link[1]), link[2]] for link in WORKFLOW["links"]}
    assert len(API_WORKFLOW) == len(WORKFLOW["nodes"])
    for node in WORKFLOW["nodes"]:
        prompt = API_WORKFLOW[str(node["id"])]
        assert prompt["class_type"] == node["type"]
        for one in node["inputs"]:
            assert prompt["inputs"][one["name"]] == links[one["link"]]
        values = [value for value in prompt["inputs"].values() if not isinstance(value, list)]
        assert node["widgets_values"][: len(values)] == values


def test_the_example_workflow_runs(nodes: ModuleType, pack: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures, of which one shows nobody: the people of the others, and layers that are the pictures again."""
    batch = torch.cat([picture(), picture([], seed=1), picture([BOXES[1]], seed=2)])
    monkeypatch.setattr(LoadImage, "loaded", [batch])
    monkeypatch.setattr(SaveImage, "saved", {})
    run(API_WORKFLOW, pack)
    saved = SaveImage.saved
    assert len(saved["deocclude/person"]) == len(saved["preview"]) == len(saved["deocclude/invented"]) == 3
    whose = [0, 0, 2]
    for index, shown, invented in zip(whose, saved["preview"], saved["deocclude/invented"], strict=True):
        assert 0 < invented.mean() < 1
        assert torch.equal(shown[invented == 0], batch[index][invented == 0])
    for index, people, row in ((0, [0, 1], 0), (2, [2], 1)):
        layers = [
            saved["deocclude/background"][row],
            *(saved["deocclude/person"][one] for one in people),
            saved["deocclude/in_front"][row],
        ]
        assert torch.equal(flattened(layers), batch[index])


def flattened(layers: list[Tensor]) -> Tensor:
    result = torch.zeros_like(layers[0][..., :3])
    for layer in layers:
        assert set(layer[..., 3].unique().tolist()) <= {0.0, 1.0}
        result = torch.where(layer[..., 3:] == 1, layer[..., :3], result)
    return result


# --- laws ---


def test_shapes_and_ranges(nodes: ModuleType) -> None:
    image = picture()
    found, modal_masks = nodes.FindPeople().find(image, 0, "cpu")
    assert len(found) == len(modal_masks) == 1
    assert torch.equal(found[0], image) and torch.equal(modal_masks[0], masks())
    amodal, invisible = nodes.CompleteMask().complete(image, masks(), "feedforward", "cpu")
    assert amodal.shape == invisible.shape == (2, 64, 96) and amodal.dtype == invisible.dtype == torch.float32
    assert torch.equal(amodal, torch.maximum(masks(), invisible)) and not (invisible * masks()).any()
    assert all(row.any() for row in invisible)
    person, invented, facts = nodes.CompletePerson().complete(image, masks(), amodal, "feedforward", "cpu", 0)
    assert person.shape == (2, 64, 96, 3) and person.dtype == torch.float32
    assert person.min() >= 0 and person.max() <= 1
    assert torch.equal(invented, invisible)
    said = json.loads(facts)
    assert [len(one["people"]) for one in said] == [2] and "generated" in said[0]["notice"]
    assert all(0 < one["occlusion_ratio"] < 1 for one in said[0]["people"])


@pytest.mark.parametrize("channels", [3, 4])
def test_known_pixels_are_exact(nodes: ModuleType, channels: int) -> None:
    image = picture(channels=channels)
    before = image.clone()
    _, person, invented, _ = completed(nodes, image, masks())
    assert torch.equal(image, before)
    known = invented == 0
    for row in range(2):
        assert torch.equal(person[row][known[row]], image[0][known[row]])
        assert (person[row][~known[row]][:, 1] > 0.5).all() and (person[row][..., 3:] == 1).all()


def test_nothing_hidden_nothing_changed(nodes: ModuleType) -> None:
    image = picture()
    person, invented, _ = nodes.CompletePerson().complete(image, masks(), masks(), "feedforward", "cpu", 0)
    assert not invented.any() and torch.equal(person, image.expand(2, -1, -1, -1))


def test_a_batch_equals_its_singles(nodes: ModuleType) -> None:
    """As a list of pictures with any number of people, and as a batch of one person each."""
    images = [picture(seed=1), picture([BOXES[1]], seed=2)]
    found, modal_masks = nodes.FindPeople().find(torch.cat(images), 0, "cpu")
    for single, image, modal in zip(images, found, modal_masks, strict=True):
        (alone,), (its_people,) = nodes.FindPeople().find(single, 0, "cpu")
        assert torch.equal(alone, image) and torch.equal(its_people, modal)

    modal = torch.cat([masks([BOXES[0]]), masks([BOXES[1]])])
    together = completed(nodes, torch.cat(images), modal)
    for row, image in enumerate(images):
        alone = completed(nodes, image, modal[row : row + 1])
        assert all(torch.equal(both[row : row + 1], one) for both, one in zip(together[:3], alone[:3], strict=True))
    layers = nodes.Layers().separate(torch.cat(images), together[1], modal, together[0])
    single = nodes.Layers().separate(images[1], together[1][1:], modal[1:], together[0][1:])
    assert all(torch.equal(layers[place][1:], single[place]) for place in (0, 2, 3))
    assert torch.equal(layers[1][1], single[1][0])


def test_the_largest_people_alone(nodes: ModuleType) -> None:
    _, (modal,) = nodes.FindPeople().find(picture(), 1, "cpu")
    assert torch.equal(modal, masks()[:1])


def test_the_seed_decides(nodes: ModuleType) -> None:
    results = [completed(nodes, picture(), masks(), rgb_stage="diffusion", seed=seed)[1] for seed in (3, 3, 2**64 - 1)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_cut_outs(nodes: ModuleType) -> None:
    image, modal = picture(), masks()
    amodal, person, _, _ = completed(nodes, image, modal)
    people, cropped, background, in_front = nodes.Layers().separate(image, person, modal, amodal)
    assert people.shape == (2, 64, 96, 4) and background.shape == in_front.shape == (1, 64, 96, 4)
    assert torch.equal(people[..., 3], amodal) and (people[people[..., 3] == 0] == 0).all()
    for row, one in enumerate(cropped):
        rows, columns = amodal[row].nonzero().T
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        assert one.shape == (1, height, width, 4) and one[..., 3].sum() == amodal[row].sum()
    assert torch.equal(flattened([background[0], *people, in_front[0]]), image[0])


def test_values_a_little_over_one_are_kept(nodes: ModuleType) -> None:
    image = picture()
    image[0, 0, 0] = 1.01
    _, person, _, _ = completed(nodes, image, masks())
    assert (person[:, 0, 0] == image[0, 0, 0]).all()


def test_the_packs_own_method(pack: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real preset with the package's networks in miniature, which find somebody everywhere."""
    write_assets(tmp_path)
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    monkeypatch.setenv("DEOCCLUDE_HOME", str(tmp_path / "home"))
    module = sys.modules[pack.FindPeople.__module__]
    module._kept.clear()
    image, modal = picture(), masks()
    (found,), (seen,) = module.FindPeople().find(image, 1, "cpu")
    assert torch.equal(found, image) and seen.shape == (1, 64, 96)
    amodal, person, invented, facts = completed(module, image, modal)
    known = invented == 0
    assert all(torch.equal(person[row][known[row]], image[0][known[row]]) for row in range(2))
    people, _, background, in_front = module.Layers().separate(image, person, modal, amodal)
    assert torch.equal(flattened([background[0], *people, in_front[0]]), image[0])
    assert json.loads(facts)[0]["people"][0]["method"]["rgb_completion"] == "feedforward"
    with pytest.raises(ValueError, match="is not on this machine"):
        module.CompleteMask().complete(image, modal, "diffusion", "cpu")
    module._kept.clear()


def test_one_method_is_held_at_a_time(nodes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    build = SceneDeoccluder.from_preset

    def building(*args: Any, **settings: Any) -> SceneDeoccluder:
        held.append(len(nodes._kept))
        return build(*args, **settings)

    monkeypatch.setattr(SceneDeoccluder, "from_preset", staticmethod(building))
    for device in ("cpu", "cpu", "meta", "cpu"):
        nodes._scenes("feedforward", "feedforward", device)
    assert held == [0, 0, 0] and len(nodes._kept) == 1


# --- refusals ---


@pytest.mark.parametrize(
    ("image", "modal", "sentence"),
    [
        (picture()[0], masks(), r"an image is \[B, H, W, 3 or 4\]"),
        (picture()[..., :1], masks(), r"an image is \[B, H, W, 3 or 4\]"),
        (picture() * torch.nan, masks(), "not numbers"),
        (picture(), torch.zeros(1, 64, 64), "not as large as its picture"),
        (picture(), masks()[0], "not as large as its picture"),
        (picture(), torch.zeros(1, 64, 96), "the mask is empty"),
        (picture(), 1 - masks()[:1], "the mask looks inverted"),
        (picture(), torch.ones(1, 64, 96), "the mask is full"),
        (picture().expand(3, -1, -1, -1), masks(), "3 pictures and 2 masks"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(nodes: ModuleType, image: Tensor, modal: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        nodes.CompleteMask().complete(image, modal, "feedforward", "cpu")
    assert "\n" not in str(caught.value)


def test_other_refusals(nodes: ModuleType) -> None:
    with pytest.raises(ValueError, match="no person found"):
        nodes.FindPeople().find(picture([]), 0, "cpu")
    with pytest.raises(ValueError, match="of 2 and of 1 people"):
        nodes.CompletePerson().complete(picture(), masks(), masks()[:1], "feedforward", "cpu", 0)
    with pytest.raises(ValueError, match="a picture like image"):
        nodes.Layers().separate(picture(), picture(), masks(), masks())
    with pytest.raises(ValueError, match="a row of the masks is empty"):
        nodes.Layers().separate(picture(), picture(), masks()[:1] * 0, masks()[:1] * 0)


@pytest.mark.parametrize("name", ["/etc/passwd", "../weights.safetensors", "copy-input", ""])
def test_a_workflow_names_no_file(nodes: ModuleType, name: str) -> None:
    """deocclude takes weights files in a stage's place; the nodes do not, however the prompt got past ComfyUI."""
    with pytest.raises(ValueError, match="choose from feedforward, amodal, diffusion"):
        nodes.CompleteMask().complete(picture(), masks(), name, "cpu")
    with pytest.raises(ValueError, match="choose from feedforward, amodal, diffusion"):
        nodes.CompletePerson().complete(picture(), masks(), masks(), name, "cpu", 0)
    with pytest.raises(ValueError, match="choose from cpu, cuda, mps"):
        nodes.FindPeople().find(picture(), 0, name)


def test_missing_weights_are_said(nodes: ModuleType) -> None:
    with pytest.raises(ValueError, match="weights are missing"):
        nodes.CompleteMask().complete(picture(), masks(), "diffusion", "cpu")
