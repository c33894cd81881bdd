"""The search page in a real browser, served by a real server over a real store: what a merchandiser does with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from workshop import copy_store, over_http

from engine.encoder import Encoder
from engine.store.edge import EdgeStore
from eval.truth import load_ground_truth
from serve.app import make_app

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
QUIET = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
    *("disable-component-update", "disable-sync", "window-size=1280,900"),
)
WITHIN_S = 30

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium-driver"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def address(_ingested_once: Path, bundled_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = copy_store(_ingested_once, tmp_path_factory.mktemp("served") / "store")
    with EdgeStore(folder, "fashion") as store, over_http(make_app(store, bundled_encoder)) as url:
        yield f"{url}/"


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in QUIET:
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path_factory.mktemp("downloads"))})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER))) as driver:
        yield driver


@pytest.fixture
def page(_chromium: webdriver.Chrome, address: str) -> Iterator[Page]:
    page = Page(_chromium, address)
    page.open()
    yield page
    assert [entry for entry in _chromium.get_log("browser") if entry["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]


class Page:
    """The page as somebody sees it."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, state: str = "") -> None:
        self.driver.get(self.address + state)
        self.until(self.hits)

    def until(self, condition: Callable[[], Any]) -> Any:
        redrawn = [StaleElementReferenceException]
        return WebDriverWait(self.driver, WITHIN_S, 0.02, redrawn).until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def titles(self, of: str = "#hits") -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
        titles: list[str] = self.driver.execute_script(script, f"{of} .title")
        return titles

    def hits(self) -> list[str]:
        return self.titles()

    def changed(self, before: list[str]) -> list[str]:
        titles: list[str] = self.until(lambda: (now := self.titles()) and now != before and now)
        return titles

    def type(self, words: str) -> None:
        before = self.titles()
        self.one("#words").send_keys(words)
        self.changed(before)
        self.until(lambda: f"q={words.split()[0]}" in self.driver.current_url)

    def click(self, selector: str) -> None:
        self.driver.execute_script("arguments[0].click()", self.one(selector))


def test_typing_finds_and_the_address_keeps_it(page: Page) -> None:
    page.type("denim")
    found = page.until(page.titles)
    page.open(page.driver.current_url.removeprefix(page.address))
    assert page.until(page.titles) == found


def test_a_facet_filters_and_its_chip_takes_the_filter_away(page: Page) -> None:
    page.click('#facets details[data-field="gender"] button')
    page.until(lambda: page.all("#chips button"))
    total = page.until(lambda: page.one("#status").text)
    assert "where=gender" in page.driver.current_url
    page.click("#chips button")
    page.until(lambda: not page.all("#chips button") and page.one("#status").text != total)
    assert "where=gender" not in page.driver.current_url


def test_more_like_this_and_back_again(page: Page) -> None:
    before = page.titles()
    page.click("#hits .acts button")
    similar = page.changed(before)
    assert "like=" in page.driver.current_url
    assert before[0] not in similar[:1]
    page.driver.back()
    page.until(lambda: page.titles() == before)


def test_a_photograph_from_the_disk_finds_itself(page: Page, drawings: Path) -> None:
    photograph = sorted((drawings / "images").rglob("*.jpg"))[0]
    before = page.titles()
    page.one("#file").send_keys(str(photograph))
    page.changed(before)
    first = page.one("#hits .open")
    page.driver.execute_script("arguments[0].click()", first)
    page.until(lambda: page.all("#item dl"))
    assert photograph.stem in page.one("#item dl").text


def test_a_photograph_has_a_page_of_its_own_with_neighbours(page: Page) -> None:
    page.click("#hits .open")
    page.until(lambda: page.all("#item .near button"))
    assert "item=" in page.driver.current_url
    title = page.until(lambda: page.one("#item-title").text)
    page.click("#item .near button")
    page.until(lambda: page.one("#item-title").text != title)
    page.driver.back()
    page.until(lambda: page.one("#item-title").text == title)
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#item").is_displayed())


def test_scrolling_loads_the_rest_without_duplicates(page: Page) -> None:
    page.open("?q=coat")

    def at_the_end() -> bool:
        page.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        return len(page.titles()) == 48

    page.until(at_the_end)
    images = [image.get_attribute("src") for image in page.all("#hits img")]
    assert len(set(images)) == 48


def test_two_settings_stand_side_by_side(page: Page) -> None:
    page.open("?q=dress&other=words&with=hat")
    page.until(lambda: page.titles("#others"))
    assert page.titles() != page.titles("#others")


def test_judgements_are_exported_as_a_ground_truth(page: Page, tmp_path: Path) -> None:
    page.open("?q=red dress")
    page.until(lambda: page.all('#hits [title="Judge right"]'))
    page.click('#hits [title="Judge right"]')
    page.driver.execute_script(
        "window.saved = []; URL.createObjectURL = (blob) => { blob.text().then((t) => saved.push(t)); return '#'; };"
        "HTMLAnchorElement.prototype.click = () => {};"
    )
    page.click("#export")
    text = page.until(lambda: page.driver.execute_script("return window.saved[0]"))
    (tmp_path / "judgements.qrels").write_text(text)
    truth = load_ground_truth(tmp_path / "judgements.qrels")
    assert list(truth) == ["red dress"]
    assert list(truth["red dress"].values()) == [1.0]
    page.driver.execute_script("localStorage.clear()")


def test_the_keyboard_alone_suffices(page: Page) -> None:
    page.one("body").send_keys("/")
    assert page.driver.switch_to.active_element.get_attribute("id") == "words"
    page.one("#words").send_keys("skirt" + Keys.ENTER)
    page.until(lambda: "q=skirt" in page.driver.current_url and page.titles())
    page.driver.execute_script("document.activeElement.blur()")
    page.one("body").send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.driver.switch_to.active_element.get_attribute("class") == "open")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: page.one("#item").is_displayed())


@pytest.mark.parametrize("state", ["?q=denim", "?q=denim&item=first", "?q=denim&other=exact"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(page: Page, state: str, scheme: str) -> None:
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    if "item=first" in state:
        page.open("?q=denim")
        page.click("#hits .open")
        page.until(lambda: page.all("#item dl"))
    else:
        page.open(state)
    page.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]] == []


def test_nothing_is_fetched_from_elsewhere(page: Page) -> None:
    page.open("?q=denim")
    names = page.driver.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert names
    assert not [name for name in names if not name.startswith((page.address, "data:", "blob:"))]
