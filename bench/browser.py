"""A headless Chromium for what is measured and photographed of the search page."""

from __future__ import annotations

import shutil

from selenium import webdriver

FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "hide-scrollbars",
    "window-size=1280,900",
)


def chromium() -> webdriver.Chrome:
    """Return a browser, a context manager; raises RuntimeError where Debian's chromium-driver is not installed."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        raise RuntimeError("no chromium here: apt install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options, webdriver.ChromeService(driver))
