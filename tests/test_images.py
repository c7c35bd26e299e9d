"""Every file a user may have: what is clear is read the same way, what is not is refused with a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from miniatures import photograph, write_png
from PIL import Image, ImageCms

from deocclude.errors import InputError
from deocclude.images import (
    as_image,
    as_mask,
    colour_profile,
    find_images,
    image_to_tensor,
    open_image,
    open_mask,
    save_image,
)

PICTURE = photograph(20, 30)
MASK = np.zeros((40, 60), bool)
MASK[10:35, 20:40] = True


def grey(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array.astype(np.uint8))


# --- pictures ---


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_are_exact(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(PICTURE).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(open_image(path), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.full((24, 40, 3), 255, np.uint8)
    upright[:8, :16] = 0  # a black corner says which way is up
    # What a camera held that way stores: the inverse of the turn that its EXIF asks for.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    settings: dict[str, Any] = {"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **settings)
    read = open_image(path)
    assert read.shape == upright.shape
    assert np.array_equal(read > 127, upright > 127)


@pytest.mark.filterwarnings("error")
def test_damaged_exif_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(PICTURE).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09garbage")
    assert open_image(path).shape == PICTURE.shape


def test_colour_modes(tmp_path: Path) -> None:
    flat = Image.new("RGB", (6, 4), (200, 40, 90))
    for name, image in {
        "palette.png": flat.convert("P", palette=Image.Palette.ADAPTIVE),
        "cmyk.jpg": flat.convert("CMYK"),
        "cmyk.tif": flat.convert("CMYK"),
        "alpha.png": flat.convert("RGBA"),
    }.items():
        image.save(tmp_path / name)
        assert np.abs(open_image(tmp_path / name).astype(int) - (200, 40, 90)).max() <= 4, name


def test_grey_and_16_bits(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    expected = (levels / 257).round().astype(np.uint8)
    read = open_image(tmp_path / "deep.png")
    assert read.shape == (4, 6, 3)
    assert np.array_equal(read[..., 0], expected) and np.array_equal(read[..., 2], expected)
    grey(expected).save(tmp_path / "grey.png")
    assert np.array_equal(open_image(tmp_path / "grey.png"), read)


def test_16_bit_colour(tmp_path: Path) -> None:
    """Pillow cannot write one: a PNG by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">6H", 65535, 32896, 0, 0, 65535, 257)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )
    assert open_image(path).tolist() == [[[255, 128, 0], [0, 255, 1]]]


def test_transparency_becomes_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    write_png(tmp_path / "a.png", rgba)
    read = open_image(tmp_path / "a.png")
    assert read[0, 0].tolist() == [10, 20, 30]
    assert (read.reshape(-1, 3)[1:] == 255).all()
    assert np.array_equal(as_image(rgba), read)


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photograph(64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photograph(64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("zero.jpg", b"", "empty"),
        ("short.png", png_bytes()[:3000], "damaged"),
        ("short.jpg", jpeg_bytes()[:1000], "damaged"),
        ("text.jpg", b"this is not a picture at all", "not a picture"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        ("missing.jpg", None, "no such file"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (open_image, lambda p: open_mask(p, (64, 64))):
        with pytest.raises(InputError, match=reason) as caught:
            read(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_animations_and_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.fromarray(photograph(8, 8, seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="3 frames"):
        open_image(path)


def test_pixel_cap(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", PICTURE)
    assert open_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(InputError, match="30 x 20"):
        open_image(path, max_pixels=599)


def test_decompression_bomb(tmp_path: Path) -> None:
    """A header that promises 60000 x 60000 pixels must cost no memory."""
    content = bytearray(png_bytes())
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match="pixels"):
        open_image(path)


def test_only_rgb_profiles_are_carried(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PICTURE).save(tmp_path / "rgb.png", icc_profile=profile)
    Image.fromarray(PICTURE).save(tmp_path / "other.png", icc_profile=profile[:16] + b"CMYK" + profile[20:])
    assert colour_profile(tmp_path / "rgb.png") == profile
    assert colour_profile(tmp_path / "other.png") is None
    assert colour_profile(tmp_path / "missing.png") is None


# --- masks ---


def jpeg_mask(path: Path) -> None:
    grey(MASK * 255).save(path.with_suffix(".jpg"), quality=60)
    path.with_suffix(".jpg").rename(path)


def palette_mask(path: Path) -> None:
    image = grey(MASK * 1).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(path)


def cut_out(path: Path) -> None:
    rgba = np.concatenate([photograph(40, 60), (MASK * 255)[..., None].astype(np.uint8)], axis=-1)
    Image.fromarray(rgba).save(path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: grey(MASK * 255).save(path),
        lambda path: grey(MASK * 1).save(path),
        lambda path: grey(MASK * 15).save(path),
        lambda path: grey(MASK * 255).convert("RGB").save(path),
        lambda path: grey(MASK * 255).convert("RGBA").save(path),
        lambda path: grey(MASK * 255).convert("1").save(path),
        lambda path: Image.fromarray((MASK * 65535).astype(np.uint16)).save(path),
        jpeg_mask,
        palette_mask,
        cut_out,
    ],
    ids=["255", "01", "class-15", "rgb", "rgba", "1-bit", "16-bit", "jpeg", "palette", "cut-out"],
)
def test_clear_masks_are_taken(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "mask.png")
    assert np.array_equal(open_mask(tmp_path / "mask.png", (40, 60)), MASK)


def test_soft_edges_are_cut_at_the_middle(tmp_path: Path) -> None:
    """A mask made at a quarter of the size and enlarged smoothly."""
    large = MASK.repeat(4, axis=0).repeat(4, axis=1)
    grey(MASK * 255).resize((240, 160), Image.Resampling.BICUBIC).save(tmp_path / "mask.png")
    assert (open_mask(tmp_path / "mask.png", (160, 240)) ^ large).mean() < 0.005


BAG = MASK * 255
BAG[20:30, 22:34] = 128


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        (np.zeros((40, 60)), "empty"),
        (np.full((40, 60), 255), "full"),
        (~MASK * 255, "inverted"),
        (MASK.T * 255, "40 x 60.*60 x 40"),
        (BAG, "greys"),
        (np.tile(np.linspace(0, 255, 60), (40, 1)), "greys"),
        (MASK * 3 + np.eye(40, 60), "greys"),
        (photograph(40, 60)[..., 1], "greys"),
        (photograph(40, 60), "coloured"),
    ],
    ids=["empty", "full", "inverted", "size", "bag", "ramp", "classes", "noise", "photograph"],
)
def test_unclear_masks_are_refused(tmp_path: Path, levels: np.ndarray, sentence: str) -> None:
    path = tmp_path / "mask.png"
    grey(levels).save(path)
    with pytest.raises(InputError, match=sentence) as caught:
        open_mask(path, (40, 60))
    assert str(path) in str(caught.value)


def filled(height: int, width: int, *boxes_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes_xyxy:
        mask[y0:y1, x0:x1] = True
    return mask


PORTRAITS = {
    "standing": filled(90, 60, (20, 10, 40, 85)),
    "feet cut off": filled(90, 60, (20, 10, 40, 90)),
    "half length": filled(90, 60, (20, 10, 40, 40), (5, 40, 55, 90)),
    "half length, arms to both sides": filled(90, 60, (20, 10, 40, 55), (0, 55, 60, 90)),
    "half length, wide": filled(60, 90, (35, 8, 55, 34), (0, 34, 90, 60)),
}
CLOSE_UPS = {
    "portrait": filled(40, 60, (3, 4, 57, 40)),
    "to both sides": filled(40, 60, (0, 4, 60, 40)),
    "one upper corner": filled(40, 60, (0, 0, 50, 40)),
    "behind a table": filled(60, 60, (0, 0, 60, 36)),
    "behind a table with a cup": filled(60, 60, (0, 0, 60, 36)) & ~filled(60, 60, (25, 30, 35, 36)),
    "behind a pole": filled(60, 60, (0, 0, 22, 50), (38, 0, 60, 50)),
}


@pytest.mark.parametrize("mask", PORTRAITS.values(), ids=PORTRAITS)
def test_an_inverted_person_is_refused(mask: np.ndarray) -> None:
    assert np.array_equal(as_mask(mask, mask.shape), mask)
    with pytest.raises(InputError, match="inverted"):
        as_mask((~mask).astype(np.uint8), mask.shape)
    assert np.array_equal(as_mask(~mask, mask.shape), ~mask)  # a program's True is no mistake


@pytest.mark.parametrize("mask", CLOSE_UPS.values(), ids=CLOSE_UPS)
def test_a_person_close_up_is_not_inverted(mask: np.ndarray) -> None:
    assert np.array_equal(as_mask(mask, mask.shape), mask)


# --- writing and finding ---


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_what_is_saved_comes_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    save_image(path, PICTURE)
    assert np.array_equal(open_image(path), PICTURE)
    save_image(path, MASK, overwrite=True)
    assert np.array_equal(open_mask(path, MASK.shape), MASK)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_saving_refuses(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", PICTURE)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        save_image(path, MASK)
    with pytest.raises(InputError, match="cannot write"):
        save_image(tmp_path / "a.jpg", PICTURE)
    with pytest.raises(InputError, match="cannot be written"):
        save_image(tmp_path / "no" / "folder.png", PICTURE)
    with pytest.raises(InputError, match="cannot be written"):
        save_image(path / "inside-a-file.png", PICTURE)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "notes.txt", "sub/c.webp", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)

    def names(*inputs: str) -> list[str]:
        return [path.as_posix() for path in find_images(inputs)]

    assert names(".") == ["a.PNG", "b.jpg", "odd[1].png"]
    assert names("**/*") == ["a.PNG", "b.jpg", "odd[1].png", "sub/c.webp"]
    assert names("odd[1].png") == ["odd[1].png"]
    assert names("sub", "b.jpg", "*.jpg", str(tmp_path / "b.jpg")) == ["sub/c.webp", "b.jpg"]
    assert names("notes.txt") == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "*.gif", "missing.jpg", "missing/"):
        with pytest.raises(InputError, match=wrong.replace("*", r"\*")):
            find_images([wrong])
    assert names("b.jpg", "missing.jpg") == ["b.jpg", "missing.jpg"]


# --- PIL, NumPy, tensors ---


def test_all_forms_of_a_picture_are_one() -> None:
    tensor = image_to_tensor(PICTURE)
    assert tensor.shape == (1, 3, 20, 30) and tensor.dtype == torch.float32 and 0.9 < tensor.max() <= 1
    forms = (
        PICTURE,
        Image.fromarray(PICTURE),
        PICTURE.astype(np.float32) / 255,
        PICTURE.astype(np.float64) / 255,
        PICTURE.astype(np.uint16) * 257,
        tensor,
        tensor[0],
        tensor.double(),
        torch.from_numpy(PICTURE).permute(2, 0, 1),
    )
    for form in forms:
        assert np.array_equal(as_image(form), PICTURE)
    grey_picture = PICTURE[..., 1]
    for form in (grey_picture, grey_picture[..., None], Image.fromarray(grey_picture)):
        assert np.array_equal(as_image(form), np.repeat(grey_picture[..., None], 3, axis=2))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.full((4, 4, 3), 255.0),
        np.full((4, 4, 3), -0.1),
        np.full((4, 4, 3), np.nan),
        np.zeros((4, 4, 3), np.int64),
        torch.zeros(2, 3, 4, 4),
        torch.full((3, 4, 4), 2.0),
        "photo.jpg",
        Path("photo.jpg"),
        [[[0, 0, 0]], [[255, 255, 255]]],
        [[0], [1, 2]],
        None,
    ],
    ids=[
        "channels",
        "batch",
        "nothing",
        "unscaled",
        "negative",
        "nan",
        "integers",
        "tensors",
        "tensor-range",
        "name",
        "path",
        "list",
        "ragged-list",
        "none",
    ],
)
def test_other_forms_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError):
        as_image(wrong)


def test_all_forms_of_a_mask_are_one() -> None:
    tensor = torch.from_numpy(MASK)
    forms = (
        MASK,
        MASK * 255,
        MASK.astype(np.uint8),
        MASK.astype(np.float32),
        MASK[None],
        MASK[..., None],
        grey(MASK * 255),
        tensor,
        tensor[None, None].float(),
        np.repeat((MASK * 255).astype(np.uint8)[..., None], 3, axis=2),
    )
    for form in forms:
        assert np.array_equal(as_mask(form, MASK.shape), MASK)
    wrong_forms = (
        (~MASK).astype(np.uint8),
        MASK & False,
        np.ones(MASK.shape),
        MASK.T,
        MASK * 0.3 + 0.1,
        np.zeros(5),
        MASK * np.nan,
        "mask.png",
        [[0], [1, 1]],
    )
    for wrong in wrong_forms:
        with pytest.raises(InputError):
            as_mask(wrong, MASK.shape)
