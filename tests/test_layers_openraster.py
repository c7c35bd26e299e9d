"""OpenRaster files: as the format demands, read back as they were, and nothing worse than an InputError otherwise."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from test_layers_stacking import SIZE_HW, noise, person, rectangle, scene_of

from deocclude.errors import InputError
from deocclude.layers import openraster
from deocclude.layers.marking import GeneratedMark, mark_of
from deocclude.layers.openraster import read_openraster, write_openraster
from deocclude.layers.stacking import Layer, LayerStack, flatten, stack_scene

Entries = dict[str, bytes]


def scene() -> LayerStack:
    """Somebody partly hidden, and somebody whom the edge cuts off."""
    photograph = noise(6, 10, 3)
    people = [
        person("in front", noise(*SIZE_HW, 3), rectangle(4, 0, 7, 6), rectangle(4, 0, 7, 8)),
        person("behind <&\"'> \n", noise(*SIZE_HW, 3), rectangle(0, 0, 4, 3), rectangle(0, 0, 6, 5)),
    ]
    return stack_scene(photograph, people, [1, 0])


def same(one: LayerStack, other: LayerStack) -> bool:
    def facts(stack: LayerStack) -> object:
        return (
            stack.size_hw,
            stack.mark,
            [(layer.name, layer.kind, layer.offset_xy, layer.is_visible, layer.mark) for layer in stack.layers],
        )

    pixels = zip(one.layers, other.layers, strict=True)
    return facts(one) == facts(other) and all(np.array_equal(a.rgba, b.rgba) for a, b in pixels)


@pytest.fixture
def ora(tmp_path: Path) -> Path:
    write_openraster(tmp_path / "scene.ora", scene())
    return tmp_path / "scene.ora"


def entries(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, content: Entries, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


# --- writing ---


def test_it_is_laid_out_as_the_format_demands(ora: Path) -> None:
    # The first bytes tell a file's type to programs that do not unpack it.
    assert ora.read_bytes()[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(ora) as archive:
        first = archive.infolist()[0]
        assert first.filename == "mimetype" and first.compress_type == zipfile.ZIP_STORED
    content = entries(ora)
    root = ElementTree.fromstring(content["stack.xml"])
    assert root.tag == "image" and (root.get("w"), root.get("h")) == ("10", "8") and root.get("version")
    layers = root.findall("stack/layer")
    assert [layer.get("name") for layer in layers] == [layer.name for layer in reversed(scene().layers)]
    assert {layer.get("src") for layer in layers} == {name for name in content if name.startswith("data/")}
    assert layers[-1].get("name") == "background"
    assert np.array_equal(np.array(opened(content["mergedimage.png"])), flatten(scene()))
    assert opened(content["Thumbnails/thumbnail.png"]).size == (10, 8)  # never enlarged


def test_a_thumbnail_is_small_and_keeps_its_shape(tmp_path: Path) -> None:
    stack = LayerStack((500, 1000), (Layer("wide", "other", np.full((500, 1000, 4), 255, np.uint8)),))
    write_openraster(tmp_path / "wide.ora", stack)
    assert opened(entries(tmp_path / "wide.ora")["Thumbnails/thumbnail.png"]).size == (256, 128)


def test_invented_pixels_are_marked_where_they_are_seen(ora: Path) -> None:
    content = entries(ora)
    marks = {name: mark_of(opened(data)) for name, data in content.items() if name.endswith(".png")}
    by_layer = {layer.name: marks[f"data/layer{number:03}.png"] for number, layer in enumerate(scene().layers)}
    assert by_layer["in front"] == GeneratedMark(6, "in front: invented pixels")
    assert by_layer["background"] is None and by_layer["occluders"] is None
    merged = marks["mergedimage.png"]
    assert merged is not None and merged.num_invented == 6  # beyond the photograph's lower edge


def test_the_same_layers_are_the_same_bytes(ora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_openraster(tmp_path / "again.ora", scene())
    assert ora.read_bytes() == (tmp_path / "again.ora").read_bytes()


def test_every_picture_has_the_photographs_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_openraster(tmp_path / "a.ora", scene(), icc_profile=profile)
    pictures = [data for name, data in entries(tmp_path / "a.ora").items() if name.endswith(".png")]
    assert pictures and all(opened(data).info["icc_profile"] == profile for data in pictures)


def test_it_is_written_whole_or_not_at_all(ora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ora.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write_openraster(ora, scene())

    def disk_full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(openraster, "_thumbnail", disk_full)
    with pytest.raises(InputError, match="No space left"):
        write_openraster(ora, scene(), overwrite=True)
    assert os.listdir(ora.parent) == ["scene.ora"] and ora.read_bytes() == before
    with pytest.raises(InputError, match=r"ends in \.ora"):
        write_openraster(ora.with_suffix(".zip"), scene())


# --- there and back ---


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    photograph, people, order, offset_xy = scene_of(seed)
    stack = stack_scene(photograph, people, order, offset_xy=offset_xy)
    path = tmp_path_factory.mktemp("ora") / "scene.ora"
    write_openraster(path, stack)
    assert same(read_openraster(path), stack)


def test_any_name_comes_through_as_far_as_xml_has_letters_for_it(tmp_path: Path) -> None:
    names = ["<&>\"' ]]>", "two\nlines\tand a tab", "Zoë 人", "nul\0 bell\a half\ud800"]
    rgba = np.full((1, 1, 4), 255, np.uint8)
    stack = LayerStack((1, 1), tuple(Layer(name, "other", rgba) for name in names))
    write_openraster(tmp_path / "names.ora", stack)
    read = [layer.name for layer in read_openraster(tmp_path / "names.ora").layers]
    assert read == [*names[:3], "nul\ufffd bell\ufffd half\ufffd"]


def test_another_programs_file_is_read(ora: Path, tmp_path: Path) -> None:
    """Deflated, without our namespace, opacity and operation left out, a grey layer that hangs over the edge."""
    grey = io.BytesIO()
    Image.fromarray(noise(3, 3)).save(grey, "PNG")
    xml = b'<image w="4" h="5" version="0.0.3"><stack><layer src="data/a.png" name="a" x="-1" y="3"/></stack></image>'
    content = {**entries(ora), "stack.xml": xml, "data/a.png": grey.getvalue()}
    stack = read_openraster(written(tmp_path / "other.ora", content))
    assert stack.size_hw == (5, 4) and stack.layers[0].kind == "other" and stack.layers[0].offset_xy == (-1, 3)
    assert np.array_equal(flatten(stack)[3:, :2, 0], noise(3, 3)[:2, 1:])


# --- refused ---


def _replaced(before: bytes, after: bytes) -> Callable[[Entries], None]:
    def change(content: Entries) -> None:
        assert before in content["stack.xml"]
        content["stack.xml"] = content["stack.xml"].replace(before, after)

    return change


def _without(name: str) -> Callable[[Entries], None]:
    return lambda content: content.pop(name) and None


def _wrong_mimetype(content: Entries) -> None:
    content["mimetype"] = b"application/zip"


def _bomb(content: Entries) -> None:
    """20 megapixels in 20 kilobytes."""
    file = io.BytesIO()
    Image.new("1", (5000, 4000)).save(file, "PNG")
    content["data/layer000.png"] = file.getvalue()


def _long_xml(content: Entries) -> None:
    content["stack.xml"] += b" " * openraster.MAX_STACK_BYTES


def _many_layers(content: Entries) -> None:
    _replaced(b"<stack>", b"<stack>" + b'<layer src="data/layer000.png"/>' * openraster.MAX_LAYERS)(content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_wrong_mimetype, "not the mimetype"),
        (_without("mimetype"), "not the mimetype"),
        (_without("stack.xml"), "has no 'stack.xml'"),
        (_without("data/layer000.png"), "has no 'data/layer000.png'"),
        (_without("mergedimage.png"), "has no 'mergedimage.png'"),
        (_replaced(b"data/layer000.png", b"../layer000.png"), "outside itself"),
        (_replaced(b"data/layer000.png", b"/etc/passwd"), "outside itself"),
        (_replaced(b"data/layer000.png", b"C:\\layer000.png"), "outside itself"),
        (_replaced(b"data/layer000.png", b"file:layer000.png"), "outside itself"),
        (_replaced(b'w="10"', b'w="10000000"'), "over the limit"),
        (_replaced(b'w="10"', b'w="-10"'), "is empty or over"),
        (_replaced(b'w="10"', b""), "no usable 'w'"),
        (_replaced(b'x="0"', b'x="99999999999"'), "no usable 'x'"),
        (_replaced(b'x="0"', b'x="left"'), "no usable 'x'"),
        (_replaced(b'opacity="1.0"', b'opacity="0.5"'), "half transparent"),
        (_replaced(b'opacity="1.0"', b'opacity="nan"'), "half transparent"),
        (_replaced(b"svg:src-over", b"svg:multiply"), "is blended"),
        (_replaced(b"<stack>", b"<stack><stack/>"), "more than plain layers"),
        (_replaced(b"<stack>", b"<stack"), "XML is damaged"),
        (_replaced(b"<image", b'<!DOCTYPE image [<!ENTITY a "aaaa">]><image'), "document type"),
        (_many_layers, "over the limit of 1000"),
        (_long_xml, "more than 4,194,304 bytes"),
        (_bomb, "more pixels than are read"),
    ],
)
def test_it_is_refused_in_one_sentence(ora: Path, change: Callable[[Entries], None], reason: str) -> None:
    content = entries(ora)
    change(content)
    path = written(ora.with_name("bad.ora"), content)
    with pytest.raises(InputError, match=reason) as caught:
        read_openraster(path, max_pixels=1_000_000)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_layers_together_have_a_limit(ora: Path) -> None:
    """Many small pictures, or one that is named many times, add up."""
    content = entries(ora)
    _replaced(b"<stack>", b"<stack>" + b'<layer src="mergedimage.png"/>' * 20)(content)
    path = written(ora.with_name("many.ora"), content)
    assert len(read_openraster(path).layers) == 20 + len(scene().layers)
    with pytest.raises(InputError, match="more pixels than are read"):
        read_openraster(path, max_pixels=80)


def test_other_compressions_and_no_zip_at_all_are_refused(ora: Path) -> None:
    with pytest.raises(InputError, match="compression"):
        read_openraster(written(ora.with_name("bz2.ora"), entries(ora), zipfile.ZIP_BZIP2))
    for data in (b"", b"PK\x03\x04", os.urandom(500)):
        ora.with_name("noise.ora").write_bytes(data)
        with pytest.raises(InputError, match="is damaged or no OpenRaster file"):
            read_openraster(ora.with_name("noise.ora"))
    with pytest.raises(InputError, match="no such file"):
        read_openraster(ora.with_name("missing.ora"))


@given(
    file=st.sampled_from(["stack.xml", "data/layer000.png", "data/layer001.png", "mergedimage.png", "mimetype"]),
    position=st.floats(0, 1, exclude_max=True),
    value=st.binary(min_size=1, max_size=3),
    length=st.floats(0.5, 1),
)
@settings(max_examples=200)
def test_a_damaged_part_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, file: str, position: float, value: bytes, length: float
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "scene.ora"
    write_openraster(path, scene())
    content = entries(path)
    data, start = bytearray(content[file]), int(position * len(content[file]))
    data[start : start + len(value)] = value
    content[file] = bytes(data[: int(length * len(data))] if length < 0.6 else data)
    try:
        stack = read_openraster(written(path, content), max_pixels=100_000)
    except InputError:
        return
    assert flatten(stack).shape == (*stack.size_hw, 4)
