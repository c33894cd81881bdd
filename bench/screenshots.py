"""The pictures of the search page in the README, of a drawn look-book: `python bench/screenshots.py`."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from browser import chromium
from measure import HERE, engine
from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait
from serve_time import served

DOCS = HERE.parent / "docs"
DRAWN = 600
WITHIN_S = 30
ALL_SHOWN = """
const seen = (one) => one.getBoundingClientRect().top < innerHeight;
const pictures = [...document.querySelectorAll("#hits img")].filter(seen);
return pictures.length > 0 && pictures.every(one => one.complete && one.naturalWidth > 0);
"""
SHOTS = (
    ("page", 1280, 860, False, {"q": "a long floral dress", "where": "gender=women"}),
    ("page-phone", 390, 800, True, {"q": "denim jacket"}),
)
"""File, width and height in pixels, dark or not, and what is asked for."""


def main() -> None:
    """Draw, ingest, serve, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        engine("sample", f"{folder}/drawings", "--count", str(DRAWN), "--seed", "5")
        engine("ingest", f"{folder}/drawings", "--store", f"{folder}/store")
        with served(Path(folder) / "store") as (address, _), chromium() as browser:
            for name, width, height, dark, asked in SHOTS:
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                for _ in range(2):  # the first time all is new to everybody, which no visitor sees
                    browser.get(f"{address}/?{urlencode(asked)}")
                    WebDriverWait(browser, WITHIN_S).until(lambda shown: shown.execute_script(ALL_SHOWN))
                picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
                picture.convert("RGB").save(DOCS / f"{name}.webp", quality=80)


if __name__ == "__main__":
    main()
