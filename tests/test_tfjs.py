"""TensorFlow.js graph models are read as data, and what they could do wrong is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deocclude import tfjs
from deocclude.checkpoints import open_checkpoint
from deocclude.errors import InputError
from deocclude.tfjs import read_tfjs

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3) / 3
BIAS = np.array([1.5, -2.0], np.float32)
FLOAT16 = {"dtype": "float16", "original_dtype": "float32"}


def entry(name: str, array: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "dtype": "float32", **more}


def write(folder: Path, **changes: Any) -> Path:
    """A model of two groups: a float16 tensor and a shape, then a float32 one in a second file."""
    (folder / "one.bin").write_bytes(WEIGHT.astype("<f2").tobytes() + np.array([2, 3], "<i4").tobytes())
    (folder / "two.bin").write_bytes(BIAS.tobytes())
    shape = {"name": "shape", "shape": [2], "dtype": "int32"}
    manifest = [
        {"paths": ["one.bin"], "weights": [entry("weight", WEIGHT, quantization=FLOAT16), shape]},
        {"paths": ["two.bin"], "weights": [entry("bias", BIAS)]},
    ]
    content = {"format": "graph-model", "weightsManifest": manifest, **changes}
    path = folder / "model.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_weights_come_as_float32_and_the_graphs_own_numbers_are_left_out(tmp_path: Path) -> None:
    tensors, files = read_tfjs(write(tmp_path))
    assert list(tensors) == ["weight", "bias"]
    np.testing.assert_array_equal(tensors["weight"].numpy(), WEIGHT.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(tensors["bias"].numpy(), BIAS)
    assert files == (tmp_path / "one.bin", tmp_path / "two.bin")
    assert open_checkpoint(tmp_path / "model.json").files == files


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(str(path.parent))
    return str(caught.value)


@pytest.mark.parametrize("name", ["../one.bin", "sub/one.bin", "..", "", "/etc/hostname"])
def test_files_lie_beside_the_json(tmp_path: Path, name: str) -> None:
    group = {"paths": [name], "weights": [entry("bias", BIAS)]}
    assert "does not lie beside it" in refusal(write(tmp_path, weightsManifest=[group]))


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        [],
        "two.bin",
        [{"paths": ["two.bin"]}],
        [{"paths": [3], "weights": []}],
        [{"paths": ["two.bin"], "weights": [entry("bias", BIAS, shape=[-1])]}],
        [{"paths": ["two.bin"], "weights": [entry("bias", BIAS, shape=[True, 2])]}],
        [{"paths": ["two.bin"], "weights": [entry("bias", BIAS, dtype="string")]}],
        [{"paths": ["two.bin"], "weights": [entry("bias", BIAS, quantization="float16")]}],
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, manifest: Any) -> None:
    assert "has no 'weightsManifest'" in refusal(write(tmp_path, weightsManifest=manifest))


def test_other_quantizations_and_lengths_are_refused(tmp_path: Path) -> None:
    quantized = entry("bias", BIAS, quantization={"dtype": "uint8", "scale": 1, "min": 0})
    assert "quantized to uint8" in refusal(
        write(tmp_path, weightsManifest=[{"paths": ["two.bin"], "weights": [quantized]}])
    )
    path = write(tmp_path)
    (tmp_path / "two.bin").write_bytes(BIAS.tobytes() + b"\0")
    assert "have 9 bytes, not 8" in refusal(path)
    (tmp_path / "two.bin").unlink()
    assert "two.bin: cannot be read" in refusal(path)


def test_sizes_are_bounded_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    monkeypatch.setattr(tfjs, "MAX_BINARY_BYTES", 25)  # the first file has 20 bytes, the second 8
    assert "two.bin: with the others, larger than 25 bytes" in refusal(path)
    monkeypatch.setattr(tfjs, "MAX_JSON_BYTES", 10)
    assert "it is no TF.js graph model" in refusal(path)


@pytest.mark.parametrize("content", [b"{", b'{"weightsManifest": ' + b"[" * 100_000, b"{\xff}"])
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content)
    assert "not JSON" in refusal(path)
