"""The search page in a real browser, served by a real server over a real store: what a merchandiser does with it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from workshop import copy_store, over_http

from engine.encoder import Encoder
from engine.filters import parse_where
from engine.store.edge import EdgeStore
from eval.truth import load_ground_truth
from serve.app import make_app
from serve.guard import Limits

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
def _store(_ingested_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStore]:
    folder = copy_store(_ingested_once, tmp_path_factory.mktemp("served") / "store")
    with EdgeStore(folder, "fashion") as store:
        yield store


@pytest.fixture(scope="module")
def address(_store: EdgeStore, bundled_encoder: Encoder) -> Iterator[str]:
    with over_http(make_app(_store, bundled_encoder)) as url:
        yield f"{url}/"


@pytest.fixture(scope="module")
def locked(_store: EdgeStore, bundled_encoder: Encoder) -> Iterator[str]:
    """The address of a server that wants to see the key "sésame"."""
    with over_http(make_app(_store, bundled_encoder, Limits(key="sésame"))) as url:
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
    page.size(1280, 900)
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
        self.until(self.settled)

    def until(self, condition: Callable[[], Any]) -> Any:
        redrawn = [StaleElementReferenceException]
        return WebDriverWait(self.driver, WITHIN_S, 0.02, redrawn).until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def settled(self) -> bool:
        return not self.all('[aria-busy="true"]')

    def titles(self, of: str = "#hits") -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
        titles: list[str] = self.driver.execute_script(script, f"{of} .title")
        return titles

    def hits(self) -> list[str]:
        return self.titles()

    def changed(self, before: list[str]) -> list[str]:
        """Wait for other hits than ``before``; further pages of the same ones do not count."""
        titles: list[str] = self.until(lambda: (now := self.titles()) and now[:24] != before[:24] and now)
        return titles

    def type(self, words: str) -> None:
        self.one("#words").send_keys(words)
        asked = urlencode({"q": self.one("#words").get_attribute("value")})
        self.until(lambda: asked in self.driver.current_url and self.settled())

    def click(self, selector: str) -> None:
        self.until(lambda: self.settled() and self.script("arguments[0].click(); return true", self.one(selector)))

    def press(self, selector: str, keys: str = Keys.ENTER) -> None:
        """Press keys on a control, as somebody without a mouse does."""
        self.until(lambda: self.settled() and self.script("arguments[0].focus(); return true", self.one(selector)))
        self.driver.switch_to.active_element.send_keys(keys)

    def script(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def focused(self) -> str:
        """Return what has the focus: the key of a control, else its id, else its tag."""
        focused: str = self.script("const a = document.activeElement; return a.dataset.key ?? (a.id || a.tagName)")
        return focused

    def problem(self) -> str:
        return self.one("#problem").text

    def forgive(self) -> None:
        """Forget the failures that the browser has written down so far: the test brought them about."""
        self.driver.get_log("browser")  # type: ignore[no-untyped-call]

    def at_top(self) -> bool:
        return bool(self.script("return scrollY === 0"))

    def scroll_down(self) -> None:
        self.until(lambda: self.script("scrollTo(0, 700); return scrollY") > 500)


def test_typing_finds_and_the_address_keeps_it(page: Page) -> None:
    page.type("denim")
    found = page.titles()[:24]
    page.open(page.driver.current_url.removeprefix(page.address))
    assert page.titles()[:24] == found


def test_a_facet_filters_and_its_chip_takes_the_filter_away(page: Page) -> None:
    every = page.one("#status").text
    page.click('#facets details[data-field="gender"] button')
    page.until(lambda: page.all("#chips button"))  # it comes before the hits
    total = page.until(lambda: page.settled() and (now := page.one("#status").text) != every and now)
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
    page.until(lambda: page.titles()[:24] == before[:24])


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


def test_a_new_search_begins_at_the_top_and_paging_and_closing_an_item_do_not(page: Page) -> None:
    page.open("?q=coat")
    page.scroll_down()
    page.click("#hits .open")
    page.until(lambda: page.one("#item").is_displayed())
    page.click("#item .head button")
    page.until(lambda: not page.one("#item").is_displayed())
    assert not page.at_top()
    page.type(" red")
    page.until(page.at_top)
    page.scroll_down()
    page.click('#facets details[data-field="gender"] button')
    page.until(page.at_top)


def test_back_leads_to_where_one_was_among_the_hits_however_many_pages_down(page: Page) -> None:
    page.open("?q=coat")

    def at_the_end() -> bool:
        page.script("scrollTo(0, document.body.scrollHeight)")
        return len(page.titles()) == 48

    page.until(at_the_end)
    found = page.titles()
    page.script("document.querySelector('#hits .hit:nth-child(40) .acts button').focus()")
    held, top = page.focused(), page.script("return scrollY")
    assert top > 500

    def is_back() -> bool:
        return page.titles() == found and page.settled() and page.script("return scrollY") == top

    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    similar = page.changed(found)
    page.until(page.at_top)
    page.driver.back()
    page.until(is_back)
    assert page.focused() == held
    page.driver.forward()
    page.until(lambda: page.titles()[:24] == similar[:24])
    page.until(page.at_top)
    page.driver.back()
    page.until(is_back)
    page.driver.refresh()
    page.until(is_back)
    page.click("#hits .hit:nth-child(40) .open")
    page.until(lambda: page.one("#item").is_displayed())
    page.driver.refresh()
    page.until(lambda: page.one("#item").is_displayed() and page.titles() == found)
    page.driver.back()
    page.until(lambda: not page.one("#item").is_displayed())
    page.until(is_back)


def test_what_went_wrong_is_in_sight_however_far_one_has_scrolled(page: Page) -> None:
    page.open("?q=coat")
    page.scroll_down()
    page.script(
        "dispatchEvent(new DragEvent('drop', { dataTransfer: (() => { const t = new DataTransfer();"
        " t.items.add(new File(['x'], 'x.txt')); return t; })() }))"
    )
    assert page.problem() == "That is no photograph."
    box = page.script("return document.querySelector('#problem').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= 900


def test_a_page_that_failed_is_asked_for_again(page: Page) -> None:
    page.size(1280, 400)
    page.open("?q=coat")
    page.script(
        "window.real = fetch; window.fetch = (a, o) => (/cursor/.test(o?.body) ? Promise.reject() : real(a, o))"
    )
    shown = len(page.titles())
    page.click("#more")
    page.until(lambda: page.problem() == "The server cannot be reached.")
    page.script("window.fetch = real")
    page.click("#more")
    page.until(lambda: len(page.titles()) == 48)
    assert shown == 24
    assert page.problem() == ""


def test_pages_follow_by_themselves_until_a_tall_screen_is_full(page: Page) -> None:
    page.size(1280, 9000)
    page.script("const real = fetch; window.fetch = (a, o) => real(a, { ...o, body: o?.body?.replace(':24', ':6') })")
    page.type("coat")
    page.until(lambda: len(page.titles()) == 48)
    page.until(lambda: not page.one("#more").is_displayed())


def test_an_item_opens_at_its_top_and_a_press_beside_it_closes_it(page: Page) -> None:
    page.size(1280, 500)
    page.press("#hits .open")
    page.until(lambda: page.all("#item .near button"))
    top = "return document.querySelector('#item').scrollTop"
    assert (page.script(top), page.focused()) == (0, "item-title")
    title = page.one("#item-title").text
    page.press("#item .near button")
    page.until(lambda: page.one("#item-title").text != title)
    assert (page.script(top), page.focused()) == (0, "item-title")
    assert page.one("#item .head button").is_displayed()
    ActionChains(page.driver).move_by_offset(5, 5).click().perform()
    page.until(lambda: not page.one("#item").is_displayed())
    page.until(lambda: "item=" not in page.driver.current_url)
    assert page.focused().startswith("open ")


def test_the_focus_stays_where_the_keyboard_has_pressed(page: Page) -> None:
    page.press('#facets details[data-field="gender"] button')
    page.until(lambda: len(page.all("#chips button")) == 1 and page.one("#facets [aria-pressed=true]"))
    assert page.focused().startswith("gender=")
    page.press('#facets details[data-field="category"] li:nth-child(2) button')
    page.until(lambda: len(page.all("#chips button")) == 2)
    page.press("#chips button")
    page.until(lambda: len(page.all("#chips button")) == 1)
    assert page.focused().startswith("category: ")
    page.press("#chips button")
    page.until(lambda: not page.all("#chips button"))
    assert page.focused() == "chips"
    page.until(lambda: page.settled() and not page.all("#facets [aria-pressed=true]"))
    before = page.titles()
    page.press("#hits .hit:nth-child(5) .acts button")
    page.changed(before)
    page.until(lambda: page.focused() == page.script("return document.querySelector('#hits .open').dataset.key"))


def test_the_keyboard_gets_past_the_filters_in_one_step(page: Page) -> None:
    page.press("body", Keys.TAB)
    assert page.focused() == "skip"
    assert page.one("#skip").rect["width"] > 50
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.focused() == page.script("return document.querySelector('#hits .open').dataset.key")


def test_browsing_shows_every_photograph_though_one_of_each_product_is_wanted(page: Page) -> None:
    page.open("?group=1&other=words&with=hat")
    assert page.problem() == ""
    assert len(page.titles()) >= 24
    page.until(lambda: page.titles("#others"))
    ids = page.script(
        "return fetch('/v1/search?q=hat&group_by=product_id').then((a) => a.json())"
        ".then((a) => a.hits.map((hit) => hit.payload.title || hit.payload.captions[0]))"
    )
    assert page.titles("#others")[:24] == ids


def test_a_search_that_takes_long_is_seen_to_go_on(page: Page) -> None:
    opacity = "return getComputedStyle(document.querySelector('main')).opacity"
    page.script(
        "window.real = fetch; window.fetch = (...asked) => new Promise((resolve) => { window.goOn = () => {"
        " window.fetch = real; resolve(real(...asked)); }; })"
    )
    page.one("#words").send_keys("denim")
    page.until(lambda: page.script(opacity) == "0.5")
    page.script("goOn()")
    page.until(lambda: page.settled() and page.script(opacity) == "1")


def test_on_a_phone_the_search_box_is_wide_enough_for_what_is_asked(page: Page) -> None:
    page.size(320, 568)
    assert page.one("#words").rect["width"] >= 160
    assert page.script("return document.documentElement.scrollWidth") <= 320


def test_on_a_short_screen_nothing_sticks_over_the_hits_but_what_went_wrong(page: Page) -> None:
    page.size(320, 256)
    page.open("?q=coat")
    page.scroll_down()
    bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
    assert page.script(bottom, "header") < 0
    page.script("document.querySelector('#problem').textContent = 'The server cannot be reached.'")
    assert page.script(bottom, "#problem") == 256


def test_rings_of_focus_lie_within_what_would_cut_them_off(page: Page) -> None:
    page.press("body", Keys.TAB)
    for selector in ("#hits .open", "#hits .acts button"):
        page.script("arguments[0].focus({ focusVisible: true })", page.one(selector))
        offset = page.script("return getComputedStyle(document.activeElement).outlineOffset")
        assert offset == "-3px"


def test_all_values_of_a_field_can_be_reached(page: Page) -> None:
    page.script(
        "const real = fetch; window.fetch = async (a, o) => { const answer = await real(a, o);"
        " if (!a.startsWith('/v1/facets')) return answer; const body = await answer.json();"
        " const n = Math.min(20, new URL(a, location).searchParams.get('limit'));"
        " body.facets.category = [...Array(n).keys()].map((i) => ({ value: `kind ${i}`, count: 20 - i }));"
        " return Response.json(body); };"
    )
    page.type("coat")
    page.click('#facets details[data-field="gender"] button')
    values = '#facets details[data-field="category"] li'
    page.until(lambda: len(page.all(values)) == 12)
    page.press("#facets .extent")
    page.until(lambda: len(page.all(values)) == 20)
    assert (page.focused(), page.one("#facets .extent").text) == ("all category", "Show fewer")
    page.press("#facets .extent")
    page.until(lambda: len(page.all(values)) == 12)


def test_several_values_of_a_field_can_be_chosen_and_the_others_stay_counted(page: Page) -> None:
    def facets() -> dict[str, str]:
        texts = (one.text.rsplit("\n", 1) for one in page.all('#facets details[data-field="category"] button'))
        return dict(texts)  # type: ignore[arg-type]

    before = facets()
    first, second = list(before)[:2]
    page.click(f'[data-key="category={first}"]')
    page.until(lambda: len(page.all("#facets [aria-pressed=true]")) == 1)
    assert facets() == before
    page.click(f'[data-key="category={second}"]')
    page.until(lambda: len(page.all("#facets [aria-pressed=true]")) == 2)
    both = int(before[first]) + int(before[second])
    page.until(lambda: page.one("#status").text.startswith(f"{both} photographs searched"))
    assert [chip.text.split("\n")[0] for chip in page.all("#chips button")] == [
        f"category: {first}",
        f"category: {second}",
    ]
    page.click("#chips button")
    page.until(lambda: page.one("#status").text.startswith(f"{before[second]} photograph"))
    assert len(page.all("#chips button")) == 1


def test_the_address_takes_every_filter_that_the_api_takes(page: Page) -> None:
    page.open("?where=gender!=men&where=category=denim,'pants',dresses&where=captions~the")
    chips = [chip.text.split("\n")[0] for chip in page.all("#chips button")]
    assert chips == ["gender!=men", "category: denim", "category: pants", "category: dresses", "captions~the"]
    assert all("women" in facts.text for facts in page.all("#hits .facts"))
    page.driver.get(page.address + "?where=colr=red&where=gender!!")
    page.until(lambda: "cannot read the filter" in page.problem() or "no field" in page.problem())
    page.click("#chips li:nth-child(2) button")
    page.until(lambda: "the collection has no field 'colr'" in page.problem())
    page.click("#chips button")
    page.until(page.hits)
    assert page.problem() == ""
    page.forgive()


def test_the_server_reads_a_chosen_value_as_the_page_wrote_it(page: Page) -> None:
    odd = [
        "Navy Blue",
        "Sport, outdoors",
        '5" heel',
        '"quoted"',
        "it's",
        "'",
        "=x",
        " spaced ",
        "back\\slash",
        ",",
        "a\nb",
    ]
    where, read = page.driver.execute_async_script(
        "const [values, done] = arguments; import('/page/where.js').then(({ toggled, chosen }) => {"
        " const where = values.reduce((where, value) => toggled(where, 'colour', value), ['price<5']);"
        " done([where, chosen(where, 'colour')]); })",
        odd,
    )
    assert read == odd
    assert parse_where(where[1:]) == {"must": [{"key": "colour", "match": {"any": odd}}]}
    for value in odd:
        clause = page.driver.execute_async_script(
            "import('/page/where.js').then((m) => arguments[1](m.toggled([], 'colour', arguments[0])))", value
        )
        assert parse_where(clause) == {"must": [{"key": "colour", "match": {"value": value}}]}


def test_chips_and_facets_call_a_field_the_same(page: Page) -> None:
    page.open("?where=sleeve_length=long")
    assert page.one("#chips button").text.startswith("sleeve length: long")
    assert "sleeve length" in [one.text for one in page.all("#facets summary")]


def test_compared_lists_have_headings_and_grow_together(page: Page) -> None:
    page.size(390, 844)
    page.open("?q=dress&other=words&with=hat")
    page.until(lambda: page.titles("#others"))
    assert (page.one("#hits-heading").text, page.one("#others-heading").text) == ("“dress”", "“hat”")
    one, two = (
        page.script("return arguments[0].getBoundingClientRect().toJSON()", page.one(f"#{name}"))
        for name in ("hits", "others")
    )
    assert one["top"] == two["top"]
    assert one["right"] <= two["left"] < two["right"] <= 390

    def at_the_end() -> bool:
        page.script("scrollTo(0, document.body.scrollHeight)")
        return len(page.titles()) == len(page.titles("#others")) == 48

    page.until(at_the_end)
    page.open("?q=dress&other=words")
    assert not page.titles("#others")
    assert not page.one("#hits-heading").is_displayed()


def test_a_missing_photograph_leaves_words_in_its_place(page: Page) -> None:
    title = page.one("#hits img").get_attribute("alt")
    page.script("arguments[0].dispatchEvent(new Event('error'))", page.one("#hits img"))
    place = page.one("#hits .open .missing")
    assert place.text == "no photograph"
    assert place.get_attribute("aria-label") == f"{title} (no photograph)"


def test_an_item_that_does_not_exist_is_said_to_be_missing(page: Page) -> None:
    page.open("?item=nope")
    page.until(lambda: page.one("#status").text)
    page.until(lambda: page.problem() == "the collection has no item 'nope'")
    assert "item=" not in page.driver.current_url
    page.forgive()


def test_the_history_has_one_entry_for_each_thing_that_was_done(page: Page) -> None:
    page.script(
        "window.pushed = 0; const push = history.pushState.bind(history);"
        "history.pushState = (...entry) => { pushed += 1; push(...entry); };"
    )
    page.type("denim")
    page.one("#words").send_keys(Keys.ENTER, Keys.ENTER)
    assert page.script("return pushed") == 1
    page.one("#words").send_keys(" skirt")
    page.until(lambda: "skirt" in page.driver.current_url)
    assert page.script("return pushed") == 2
    page.until(lambda: page.driver.title == "denim skirt · Fashion search")
    page.click("#hits .open")
    title = page.until(lambda: page.one("#item-title").text)
    page.until(lambda: page.driver.title == f"{title} · denim skirt · Fashion search")
    page.click("#item .near button")
    page.until(lambda: page.one("#item-title").text != title)
    page.click("#item .head button")
    page.until(lambda: "item=" not in page.driver.current_url)
    page.driver.back()
    page.until(lambda: page.driver.current_url.endswith("?q=denim"))


def test_one_photograph_is_counted_as_one(page: Page) -> None:
    id = page.script("return fetch('/v1/search').then((a) => a.json()).then((a) => a.hits[0].payload.product_id)")
    page.open(f"?where=product_id={id}")
    page.until(lambda: re.match(r"1 photograph searched|\d+ photographs searched", page.one("#status").text))
    assert not page.one("#status").text.startswith("1 photographs")


def test_words_are_dropped_on_the_search_box_as_on_any_other(page: Page) -> None:
    prevented = page.script(
        "const words = new DataTransfer(); words.setData('text/plain', 'coat');"
        "return ['dragover', 'drop'].map((name) => !document.querySelector('#words').dispatchEvent("
        "new DragEvent(name, { dataTransfer: words, bubbles: true, cancelable: true })))"
    )
    assert prevented == [False, False]
    assert page.problem() == ""


def test_a_wrong_key_is_said_to_be_wrong_and_a_right_one_shows_what_was_asked(page: Page, locked: str) -> None:
    id = page.script("return document.querySelector('#hits .open').dataset.key.slice(5)")
    page.driver.get(f"{locked}?q=coat&like={id}")
    page.until(lambda: page.one("#key").is_displayed())
    for wrong, words in (("ключ", "No key is like that"), ("open", "does not know that key")):
        page.one("#key-value").send_keys(wrong + Keys.ENTER)
        page.until(lambda words=words: words in page.one("#key-problem").text)  # type: ignore[misc]
        assert page.one("#key-value").get_attribute("value") == ""
    page.one("#key-value").send_keys(Keys.ESCAPE)
    page.until(lambda: "asks for a key" in page.problem())
    assert not page.one("#key").is_displayed()
    page.one("#words").send_keys(Keys.ENTER)
    page.until(lambda: page.one("#key").is_displayed())
    page.one("#key-value").send_keys("sésame" + Keys.ENTER)
    page.until(page.hits)
    page.until(lambda: page.script("return document.querySelector('#chips img')?.naturalWidth > 0"))
    page.script("sessionStorage.clear()")
    page.forgive()


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
        page.until(lambda: page.all('#hits [title="Judge wrong"]'))
        page.click('#hits [title="Judge wrong"]')
        page.script("document.querySelector('#hits .hit:nth-child(2) img').dispatchEvent(new Event('error'))")
    page.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    page.script("localStorage.clear()")
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]] == []


def test_nothing_is_fetched_from_elsewhere(page: Page) -> None:
    page.open("?q=denim")
    names = page.driver.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert names
    assert not [name for name in names if not name.startswith((page.address, "data:", "blob:"))]
