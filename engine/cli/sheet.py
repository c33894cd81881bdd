"""A contact sheet: one HTML file with the pictures inside, to look at or to send to a colleague."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine.cli.output import Answer, attributes_of, describe, title_of
from engine.errors import UsageError
from engine.records import Hit
from ingest.photograph import thumbnail

SIDE = 240
"""The longer side of a picture on the sheet, in pixels."""
END = 16
"""So many characters at the end of an id stay in sight: it is there that ids differ."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --dim: #6b6b70; --paper: #fbfaf8; --card: #fff; --line: #e7e4df; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f2f0ec; --dim: #a5a29c; --paper: #17171a; --card: #212125; --line: #34343a; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2.5rem clamp(1rem, 4vw, 4rem); background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: .82rem; font-weight: 500; color: var(--dim); margin: 0 0 .4rem; }
h2 { font: 500 1.7rem/1.2 Georgia, serif; margin: 0 0 1.2rem; overflow-wrap: anywhere; }
section + section { margin-top: 3.5rem; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1.1rem;
  grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); }
li { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.frame { background: #fff; display: flex; align-items: center; justify-content: center; height: 240px; }
img { max-width: 100%; max-height: 100%; display: block; }
.small { width: 75%; }
.words { padding: .7rem .8rem .8rem; }
.score { float: right; color: var(--dim); font-variant-numeric: tabular-nums; font-size: .82rem; }
.rank, .id { color: var(--dim); font-size: .82rem; white-space: nowrap; }
.id { display: flex; }
.start { overflow: hidden; text-overflow: ellipsis; }
p { margin: .2rem 0 0; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
.about { color: var(--dim); font-size: .8rem; }
"""


def write_sheet(path: Path, answers: Sequence[Answer]) -> None:
    """Write the hits of one or several queries to ``path``; no script, no request to anywhere."""
    sections = "\n".join(_section(answer) for answer in answers)
    title = escape(", ".join(answer.query for answer in answers)[:80] or "contact sheet")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>\n<h1>Contact sheet</h1>\n"
        f"{sections}\n</main></body></html>\n"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"the contact sheet {path} cannot be written ({error.strerror}): give another --html"
        ) from None


def _section(answer: Answer) -> str:
    cards = "\n".join(_card(rank, hit, answer.compared) for rank, hit in answer.ranked)
    heading = escape(answer.query) or "Photographs"
    return f"<section><h2>{heading}</h2><ol>\n{cards or '<li>nothing found</li>'}\n</ol></section>"


def _card(rank: int, hit: Hit, compared: bool) -> str:
    title = escape(title_of(hit))
    about = escape(", ".join(dict.fromkeys(describe(key, value) for key, value in attributes_of(hit).items())))
    data = thumbnail(str(hit.payload.get("uri", "")), SIDE)
    score = f'<span class="score">{hit.score:.3f}</span>' if compared else ""
    picture = "photograph not found"
    if data:
        small = (
            ' class="small"'
            if max(int(str(hit.payload.get(side, SIDE))) for side in ("width", "height")) < SIDE
            else ""
        )
        source = base64.b64encode(data).decode()
        picture = (
            f'<img{small} src="data:image/jpeg;base64,{source}" alt="{title or escape(hit.item_id)}" loading="lazy">'
        )
    return (
        f'<li><div class="frame">{picture}</div><div class="words">{score}'
        f'<span class="rank">{rank}</span>{_id(hit.item_id)}'
        f'<p>{title}</p><p class="about">{about}</p></div></li>'
    )


def _id(id: str) -> str:
    start, end = escape(id[:-END]), escape(id[-END:])
    return f'<span class="id" title="{escape(id)}"><span class="start">{start}</span><span>{end}</span></span>'
