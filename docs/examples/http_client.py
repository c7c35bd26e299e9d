"""Complete the people of a photograph through `deocclude serve`, with nothing but Python.

deocclude serve --no-browser &
python docs/examples/http_client.py street.jpg --output layers/
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import urllib.error
import urllib.request
import uuid
import zipfile
from pathlib import Path


def main() -> int:
    """Send one photograph, unpack the layers that come back."""
    parser = argparse.ArgumentParser(description="Complete the people of a photograph through 'deocclude serve'.")
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:7860")
    parser.add_argument("--token", help="of a server on another machine; 'deocclude serve' has printed it")
    parser.add_argument("--people", default="all", help="all, largest or a number")
    parser.add_argument("--mask", type=Path, help="the visible part of one person, white on black")
    parser.add_argument("--output", type=Path, default=Path("layers"))
    args = parser.parse_args()

    files = {"image": args.photograph} | ({"mask": args.mask} if args.mask else {})
    try:
        content = post(f"{args.server}/api/deocclude", files, {"people": args.people}, args.token)
    except urllib.error.HTTPError as error:
        print(json.load(error)["error"], file=sys.stderr)  # the server says in a sentence what is wrong
        return 1
    except OSError as error:  # a file that is not there, or a server that is not running
        print(f"{error}; is 'deocclude serve' running at {args.server}?", file=sys.stderr)
        return 1
    with zipfile.ZipFile(io.BytesIO(content)) as layers:
        layers.extractall(args.output)
        print(*(args.output / name for name in layers.namelist()), sep="\n")
    return 0


def post(url: str, files: dict[str, Path], fields: dict[str, str], token: str | None = None) -> bytes:
    """The answer to a form of files and fields. Raises HTTPError where it is refused."""
    boundary = uuid.uuid4().hex
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode() for name, text in fields.items()]
    for name, path in files.items():
        head = f'Content-Disposition: form-data; name="{name}"; filename="{path.name}"\r\n\r\n'
        parts.append(head.encode() + path.read_bytes())
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    sys.exit(main())
