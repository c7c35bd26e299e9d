"""`deocclude serve`: the page and the HTTP API on this machine."""

from __future__ import annotations

import argparse
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.cli.numbers import natural
from deocclude.errors import InputError
from deocclude.web.access import Access, is_loopback

if TYPE_CHECKING:
    import uvicorn

HELP = "Open a page in the browser: drop a photograph, click a person, download the layers. The same as an HTTP API."
EXAMPLE = """
deocclude serve
deocclude serve --port 8000 --no-browser
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=natural, default=7860, metavar="N", help="0 takes any that is free")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="another name under which the server is reached, such as a proxy's; once a name",
    )  # fmt: skip
    parser.add_argument(
        "--token", help="what every request must show; a random one by default where other machines are let in"
    )
    parser.add_argument("--preset", default="feedforward", metavar="NAME", help="the method chosen at first")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, …")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")


def run(args: argparse.Namespace) -> int:
    import tempfile

    from deocclude.stages.presets import preset
    from deocclude.web.app import create_app
    from deocclude.web.connections import server
    from deocclude.web.methods import Methods

    preset(args.preset)
    access = Access.at(args.host, allowed=args.allow_host, token=args.token)
    with (
        _listening(args.host, args.port) as listener,
        tempfile.TemporaryDirectory(prefix="deocclude-page-") as folder,
        closing(Methods(args.preset, device=args.device)) as methods,  # Ctrl+C waits for no work
    ):
        methods.load(args.preset)  # what is missing is said before the page opens
        serving = server(create_app(methods, Path(folder), access=access))
        address = _address(args.host, listener, access)
        if not is_loopback(args.host):
            print("Other machines can reach this page. They need its token, and nothing is encrypted on the way.")
        print(f"The page is at {address} (Ctrl+C ends it).", flush=True)
        if not args.no_browser:
            _open_browser(serving, address)
        serving.run(sockets=[listener])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen at {host}, port {port} ({getattr(error, 'strerror', None) or error}); choose another --port"
        ) from error


def _address(host: str, listener: socket.socket, access: Access) -> str:
    name = f"[{host}]" if ":" in host else host
    token = f"?token={access.token}" if access.token else ""
    return f"http://{name}:{listener.getsockname()[1]}/{token}"


def _open_browser(server: uvicorn.Server, address: str) -> None:
    """Open the page once it answers."""
    import threading
    import time
    import webbrowser

    def wait_and_open() -> None:
        while not server.started:
            time.sleep(0.1)
        webbrowser.open(address)

    threading.Thread(target=wait_and_open, daemon=True).start()
