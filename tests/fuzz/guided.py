"""The fuzz target of `readers.py`, guided by coverage: Python's, of deocclude and Pillow. Needs atheris.

    python tests/fuzz/guided.py -runs=20000 -seed=1
    python tests/fuzz/guided.py crash-0123abcd           # once more what was written for a crash

A run of no fixed length is one without `-runs`; every other option is libFuzzer's.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["deocclude", "PIL"]):
    import readers

with tempfile.TemporaryDirectory() as corpus:
    for number, seed in enumerate(readers.seeds()):
        Path(corpus, str(number)).write_bytes(seed)
    files = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = ["-timeout=20", "-rss_limit_mb=4096", *sys.argv[1:]]
    atheris.Setup([sys.argv[0], *options, *([] if files else [corpus])], readers.test_one_input)
    atheris.Fuzz()
