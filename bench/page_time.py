"""How soon somebody who types sees hits: the search page in a headless Chromium, on loopback."""

from __future__ import annotations

from statistics import median

from browser import chromium
from measure import HERE, Bench, Row, main
from photographs import described, indexed
from serve_time import served

WITHIN_MS = 150.0
WARM_UP = 5
MEASURE = """
const [words, done] = arguments;
const field = document.getElementById("words"), hits = document.getElementById("hits");
const seen = [...hits.querySelectorAll("img")].filter((one) => one.getBoundingClientRect().top < innerHeight);
Promise.all(seen.map((one) => one.decode().catch(() => {}))).then(() => {  // who types has seen the last hits
  const started = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(async () => {
      const titles = performance.now() - started;
      await hits.querySelector("img").decode().catch(() => {});
      requestAnimationFrame(() => done([titles, performance.now() - started]));
    }));
  }).observe(hits, {childList: true});
  field.value = words;
  field.dispatchEvent(new Event("input", {bubbles: true}));
});
"""


def measure(bench: Bench) -> list[Row]:
    """Return the row: from the last letter to the hits on screen, and to the first of their pictures."""
    try:
        browser = chromium()
    except RuntimeError as missing:
        return [Row("first results on screen", "no browser", f"<= {WITHIN_MS:g} ms", None, str(missing))]
    lines = (HERE / "queries.txt").read_text(encoding="utf-8").splitlines()
    with browser as page, served(indexed(bench)) as (address, _):
        page.get(address)
        page.set_script_timeout(30)
        times = [page.execute_async_script(MEASURE, words) for words in lines]
    hits, picture = (median(one[column] for one in times[WARM_UP:]) for column in (0, 1))
    slowest = max(one[0] for one in times[WARM_UP:])
    return [
        Row(
            "first results on screen, from the last letter typed",
            f"median {hits:.0f} ms, at most {slowest:.0f} ms; the first picture {picture:.0f} ms",
            f"<= {WITHIN_MS:g} ms",
            hits <= WITHIN_MS,
            f"{len(times) - WARM_UP} queries in headless Chromium; the page waits 60 ms for more letters; "
            f"{described(bench)}",
            {"hits_ms": hits, "picture_ms": picture, "slowest_ms": slowest},
        )
    ]


if __name__ == "__main__":
    main(measure)
