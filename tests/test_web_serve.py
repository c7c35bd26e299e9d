"""`deocclude serve` as a process of its own, asked by the client that the documentation shows."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniatures import write_png

from deocclude.cli import serve
from deocclude.cli.demo import sample_picture
from deocclude.errors import InputError
from deocclude.web.access import Access

CLIENT = Path(__file__).resolve().parents[1] / "docs" / "examples" / "http_client.py"
PROGRAM = """
import argparse, sys
from deocclude.cli import serve
parser = argparse.ArgumentParser()
serve.add_arguments(parser)
sys.exit(serve.run(parser.parse_args()))
"""

SLOW = """
import time
from types import SimpleNamespace
import torch
from deocclude.web.methods import Methods

class TakesTwoMinutes:
    deoccluder = SimpleNamespace(seed=0)

    def __call__(self, image, request):
        print("at work", flush=True)
        layer = torch.nn.Identity()
        for _ in range(12000):
            time.sleep(0.01)
            layer(torch.zeros(1))

Methods._from_preset = lambda *_: TakesTwoMinutes()
"""


@pytest.fixture
def address() -> Iterator[str]:
    command = [sys.executable, "-c", PROGRAM, "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("The page is at http://127.0.0.1:")
    yield line.split()[4].rstrip("/")
    process.send_signal(signal.SIGINT)
    process.wait(30)


def test_ctrl_c_waits_for_nobody(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW + PROGRAM, "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    too_long = threading.Timer(90, process.kill)
    too_long.start()
    try:
        assert process.stdout is not None
        asked = process.stdout.readline().split()[4].rstrip("/")
        photograph = write_png(tmp_path / "astronaut.png", sample_picture())
        for _ in range(2):  # one is at work, one waits
            threading.Thread(target=ask, args=(asked, photograph, tmp_path / "layers"), daemon=True).start()
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        process.wait(30)
    finally:
        too_long.cancel()
        process.kill()
        process.wait()


def ask(address: str, photograph: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CLIENT, photograph, "--server", address, "--people", "largest", "--output", output]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_documented_client_gets_layers_or_a_sentence(address: str, tmp_path: Path) -> None:
    answer = ask(address, write_png(tmp_path / "astronaut.png", sample_picture()), tmp_path / "layers")
    assert answer.returncode == 0, answer.stderr
    assert {"layers.ora", "person_1_cutout.png", "scene.json"} <= {
        path.name for path in (tmp_path / "layers").iterdir()
    }

    (tmp_path / "letter.png").write_text("Dear all,")
    refused = ask(address, tmp_path / "letter.png", tmp_path / "none")
    assert refused.returncode == 1 and refused.stderr.startswith("letter.png: not a picture")


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return parser.parse_args(given)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(InputError, match=f"port {port}.*another --port"):
            serve.run(arguments("--port", port))


def test_what_cannot_be_served_is_said_before_anything_starts() -> None:
    with pytest.raises(InputError, match="no preset"):
        serve.run(arguments("--preset", "magic"))
    with pytest.raises(InputError, match="cannot listen"):
        serve.run(arguments("--port", "99999"))


def test_only_this_machine_is_let_in_by_default() -> None:
    assert arguments().host == "127.0.0.1"


def test_the_printed_address_holds_the_token() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert serve._address("127.0.0.1", listener, Access.at("127.0.0.1")) == f"http://127.0.0.1:{port}/"
        everywhere = Access.at("::")
        assert serve._address("::", listener, everywhere) == f"http://[::]:{port}/?token={everywhere.token}"


def test_a_token_and_names_are_looked_at_before_anything_starts() -> None:
    with pytest.raises(InputError, match="a token is 16 to 200"):
        serve.run(arguments("--token", "short"))
    with pytest.raises(InputError, match="no host name"):
        serve.run(arguments("--allow-host", "a.example", "--allow-host", "http://b.example"))
