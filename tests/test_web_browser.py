"""A first-time user in a real browser: from the sample picture to a downloaded layer, with the embedded method.

Set DEOCCLUDE_TOUR to a folder to have the pictures of docs/tour.md taken there.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from deocclude.cli.demo import sample_picture
from deocclude.web.app import create_app
from deocclude.web.connections import server
from deocclude.web.methods import Methods

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--window-size=1000,1000", "--force-device-scale-factor=1",
)  # fmt: skip
SECONDS = 120

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver here (Debian: chromium, chromium-driver)"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page, as `deocclude serve` runs it."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(Methods(), tmp_path_factory.mktemp("served"))
    serving = server(app)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    serving.should_exit = True
    thread.join(60)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_window_size(1000, 1000)
    yield driver
    driver.quit()


class Visitor:
    """Somebody in front of the page."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def sees(self, selector: str) -> Any:
        """Waits until it is there and shown."""

        def shown(browser: webdriver.Chrome) -> Any:
            found = browser.find_elements(By.CSS_SELECTOR, selector)
            return found[0] if found and found[0].is_displayed() else False

        return self.until(shown)

    def until(self, condition: Callable[[webdriver.Chrome], Any]) -> Any:
        return WebDriverWait(self.browser, SECONDS).until(condition)

    def chooses(self, file: Path) -> None:
        """Gives the page a photograph, once it asks for one; the field itself is never shown."""
        wanted = (By.CSS_SELECTOR, "#photograph input[type=file]")
        self.until(lambda browser: browser.find_elements(*wanted))[0].send_keys(str(file))

    def clicks(self, selector: str) -> None:
        element = self.sees(selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def reads(self, selector: str, part: str) -> None:
        """Waits until a text contains a part."""
        self.until(lambda browser: part in browser.find_element(By.CSS_SELECTOR, selector).text)

    def drags(self, *shares: tuple[float, float]) -> None:
        """Over the picture, from point to point, as shares of its width and height."""
        canvas = self.sees("#picture canvas")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        width, height = canvas.size["width"], canvas.size["height"]
        points = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in shares]
        chain = ActionChains(self.browser).move_to_element_with_offset(canvas, *points[0]).click_and_hold()
        for (x0, y0), (x1, y1) in pairwise(points):
            chain = chain.move_by_offset(x1 - x0, y1 - y0)
        chain.release().perform()

    def photographs(self, name: str) -> None:
        """Takes a picture of the whole page for the tour, where one is asked for."""
        if not (tour := os.environ.get("DEOCCLUDE_TOUR")):
            return
        time.sleep(1.5)  # what fades in has done so
        height = self.browser.execute_script("return document.body.scrollHeight")
        self.browser.set_window_size(1000, height + 140)
        time.sleep(0.5)
        path = Path(tour) / f"tour-{name}.png"
        self.browser.save_screenshot(str(path))
        picture = Image.open(path).convert("RGB")
        picture.crop((40, 0, picture.width - 40, picture.height)).quantize(200).save(path, optimize=True)
        self.browser.set_window_size(1000, 1000)


def requested(browser: webdriver.Chrome) -> set[str]:
    """Host and port of everything that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {urlsplit(url).netloc for url in urls if url.startswith(("http", "ws"))}


def downloaded(folder: Path, pattern: str) -> Path:
    """The file that arrives."""
    for _ in range(SECONDS * 5):
        if found := [path for path in folder.glob(pattern) if path.suffix != ".crdownload"]:
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"no download like {pattern}; there is {sorted(folder.glob('*'))}")


def test_a_visitor_gets_from_a_photograph_to_a_layer(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    visitor = Visitor(browser)
    (tmp_path / "downloads").mkdir()
    photograph = tmp_path / "street.png"
    Image.fromarray(sample_picture()).save(photograph)

    # 1. The page, with its warning. A photograph is chosen.
    browser.get(address)
    visitor.reads("#invented", "The hidden part is invented.")
    visitor.photographs("1-choose")
    visitor.chooses(photograph)

    # 2. Whoever was found is outlined; a box round the astronaut says who is meant, strokes what belongs to her.
    visitor.reads("#told", "found")
    visitor.sees("#picture canvas[data-people]")
    answers = int(visitor.sees("#picture canvas").get_attribute("data-answers"))
    visitor.drags((0.02, 0.01), (0.5, 0.5), (0.99, 0.99))
    visitor.until(lambda _: int(visitor.sees("#picture canvas").get_attribute("data-answers")) > answers)
    visitor.sees("#picture canvas[data-chosen='0']")
    visitor.reads("#told", "the one you chose")
    visitor.clicks("#picture [data-tool=add]")
    visitor.drags((0.49, 0.39), (0.5, 0.47))
    visitor.sees("#picture canvas[data-strokes='1']")
    visitor.clicks("#picture [data-tool=joint]")
    visitor.reads("#picture .picture-hint", "reads no joints")
    visitor.clicks("#picture [data-tool=add]")
    visitor.photographs("2-click")

    # 3. and 4. Completed, compared, downloaded.
    visitor.clicks("#complete")
    visitor.sees("#before-after img")
    visitor.reads("#summary", "The hidden part is invented.")
    visitor.photographs("3-compare")
    visitor.clicks("#outlined input")
    visitor.clicks("#cutout")
    cutout = np.array(Image.open(downloaded(tmp_path / "downloads", "person_1_cutout*.png")))
    assert cutout.shape == (512, 512, 4)
    visible = cutout[..., 3] > 0
    assert 0.2 < visible.mean() < 0.9
    assert (cutout[220, 252] == (*sample_picture()[220, 252], 255)).all(), "what was painted belongs to her, as it is"
    assert (cutout[visible][:, :3] == sample_picture()[visible]).all(axis=1).mean() > 0.5

    # Nothing was asked for elsewhere, and nothing went wrong in the browser.
    assert requested(browser) == {urlsplit(address).netloc}
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_visitor_reads_why_a_file_cannot_be_used(browser: webdriver.Chrome, address: str, tmp_path: Path) -> None:
    visitor = Visitor(browser)
    (tmp_path / "letter.png").write_text("Dear all,")
    browser.get(address)
    visitor.sees("#sample")
    visitor.chooses(tmp_path / "letter.png")
    visitor.reads("body", "letter.png: not a picture that can be read")
