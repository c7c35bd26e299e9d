"""The fuzz target of `readers.py` on a fixed number of inputs: from a seeded mutator, and guided by atheris."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz import readers

NUM_INPUTS = 4000
ATHERIS_RUNS = 2000
SECONDS = 5.0
"""No reader may think about a few hundred bytes any longer."""
TOKENS = (
    *(b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\n", b"\r\n", b'"', b"'", b",", b"/", b"../"),
    *(b"[", b"]", b"{", b"}", b"[" * 3000, b"null", b"true", b"-1", b"1e999", b"NaN", b"9" * 400, b"1e-300"),
    *(b"2147483648", b'"counts"', b'"size"', b'"\\ud800"', b'"\\u0000"', b'"\\n\\u001b[31m"', b"x" * 300),
    *(b"IHDR", b"IDAT", b"acTL", b"Exif\x00\x00"),
)
"""What breaks readers: ends of numbers and strings, signs of the formats."""


def mutated(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    """One of the seeds after a few changes; its first byte, which names the reader, stays."""
    seed = seeds[rng.integers(len(seeds))]
    reader, content = seed[:1], bytearray(seed[1:])
    for _ in range(rng.integers(1, 7)):
        start = int(rng.integers(len(content) + 1))
        end = min(start + int(rng.integers(1, 24)), len(content))
        match int(rng.integers(7)):
            case 0:
                content[start : start + 1] = bytes([rng.integers(256)])
            case 1:
                content[start:start] = TOKENS[rng.integers(len(TOKENS))]
            case 2:
                content[start:end] = TOKENS[rng.integers(len(TOKENS))]
            case 3:
                del content[start:end]
            case 4:
                content[start:start] = content[start:end]
            case 5:
                del content[start:]
            case _:
                other = seeds[rng.integers(len(seeds))]
                content[start:end] = other[1 + int(rng.integers(len(other))) :][:24]
    return reader + bytes(content)


def test_every_reader_has_a_seed_that_it_takes(tmp_path: Path) -> None:
    folder = readers.prepared_folder(tmp_path)
    seeds = readers.seeds()
    assert {seed[0] for seed in seeds} == set(range(len(readers.READERS)))
    for seed in seeds:
        readers.READERS[seed[0]](folder, seed[1:])


@pytest.mark.parametrize("reader", range(len(readers.READERS)), ids=[one.__name__ for one in readers.READERS])
def test_mutated_inputs(reader: int) -> None:
    rng = np.random.default_rng(reader)
    seeds = [seed for seed in readers.seeds() if seed[0] == reader]
    for number in range(NUM_INPUTS // len(readers.READERS)):
        data = mutated(seeds, rng)
        start = time.process_time()
        try:
            readers.test_one_input(data)
        except Exception as error:
            error.add_note(f"input {number}: {data[:400]!r}")
            raise
        assert time.process_time() - start < SECONDS, data[:400]


def test_inputs_that_coverage_guides(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="pip install 'deocclude[fuzz]'; the mutator above runs without it")
    script = Path(readers.__file__).with_name("guided.py")
    command = [sys.executable, script, f"-runs={ATHERIS_RUNS}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
