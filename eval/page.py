"""The report as one self-contained HTML page: no script, no request to anyone, pictures as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import groupby

from eval.examination import DEFINITIONS, RELEVANCES, Case, Examination, Figure, TruthCase, TruthExamination
from eval.plots import group_bars, rank_histogram, recall_curve
from eval.tables import facts_of, number, tables

Thumbnail = Callable[[str], bytes | None]
"""A small JPEG of an item's photograph, or None where there is none."""

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfcfa; --ink: #23211e; --faint: #6f6a63; --rule: #dcd7cf;
  --mark: #8c3b2a; --wash: #8c3b2a26; --right: #2f6b3a; }
@media (prefers-color-scheme: dark) { :root { --paper: #1a1917; --ink: #e9e5de; --faint: #a09a90; --rule: #3b3833;
  --mark: #e08a73; --wash: #e08a7333; --right: #7fc28c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 54rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 ui-serif, Charter, "Bitstream Charter", Georgia, serif; }
h1 { font-size: 2rem; line-height: 1.15; margin: 0 0 1rem; font-weight: 600; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .35rem; font-weight: 600; }
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem; font-weight: 600; }
p, ul, dl { max-width: 42rem; margin: .35rem 0 .9rem; }
.note, dt, figcaption, .rank { color: var(--faint); }
ul { padding-left: 1.1rem; } dd { margin: 0 0 .5rem; }
dl.about { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dl.about dd { margin: 0;
  overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font: .875rem/1.4 ui-sans-serif, system-ui, sans-serif;
  font-variant-numeric: tabular-nums lining-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { font-weight: 500; color: var(--faint); }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
td:nth-child(2) { font-weight: 650; }
figure { margin: 1rem 0; } figcaption { font-size: .875rem; max-width: 42rem; }
svg { display: block; width: 100%; height: auto; }
svg .axis { fill: var(--faint); font: 11px ui-sans-serif, system-ui, sans-serif; }
svg .grid { stroke: var(--rule); } svg .line { fill: none; stroke: var(--mark); stroke-width: 2.25; }
svg .band { fill: var(--wash); }
svg .chance { fill: none; stroke: var(--faint); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .bar { fill: var(--mark); fill-opacity: .55; } svg .whisker { stroke: var(--ink); stroke-width: 1.25; }
.case { border-top: 1px solid var(--rule); padding: .9rem 0 .4rem; break-inside: avoid; }
.case p { margin: 0 0 .5rem; } .rank { font: .8125rem ui-sans-serif, system-ui, sans-serif; }
.hits { display: flex; gap: .5rem; flex-wrap: wrap; margin: 0; padding: 0; list-style: none; max-width: none; }
.hits li { width: 6.5rem; font: .6875rem/1.3 ui-sans-serif, system-ui, sans-serif; color: var(--faint);
  overflow-wrap: anywhere; }
.hits img, .hits .blank { display: block; width: 100%; height: 8.5rem; object-fit: contain; background: #fff;
  border: 1px solid var(--rule); border-radius: 2px; margin-bottom: .2rem; }
.hits .blank { background: none; border-style: dashed; }
.hits .right img, .hits .right .blank { border: 3px solid var(--right); } .hits .right b { color: var(--right); }
.hits .asked { margin-right: 1rem; }
@media print { body { max-width: none; } }
"""


def to_html(
    examination: Examination | None,
    truth: TruthExamination | None,
    *,
    title: str,
    about: Mapping[str, str],
    thumbnail: Thumbnail | None = None,
) -> str:
    """Return the page. ``thumbnail`` gives a small JPEG for an item id, or None; without it, no pictures."""
    body = [f"<h1>{escape(title)}</h1>", _about(about)]
    if examination:
        body.append("<ul>" + "".join(f"<li>{escape(fact)}</li>" for fact in facts_of(examination)) + "</ul>")
        body += _plots(examination)
    for heading, note, figures in tables(examination, truth):
        body.append(f'<h2>{escape(heading)}</h2><p class="note">{escape(note)}</p>{_table(figures)}')
    picture = _pictures(thumbnail)
    if examination:
        body += _groups(examination)
        body += _cases("The best queries", "Drawn at random among the lowest ranks.", examination.best, picture)
        body += _cases("The worst queries", "The highest ranks of all queries.", examination.worst, picture)
    if truth:
        body += _truth_cases("The best queries of the ground truth", truth.best, picture)
        body += _truth_cases("The worst queries of the ground truth", truth.worst, picture)
    body.append(_definitions())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _about(about: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in about.items())
    return f'<dl class="about">{rows}</dl>' if rows else ""


def _plots(examination: Examination) -> list[str]:
    asked = f"{examination.queries:,} queries, gallery of {examination.gallery:,}"
    return [
        f"<figure>{recall_curve(examination.curve)}<figcaption>hit@K, text to image, strict: {DEFINITIONS['hit']}. "
        f"{asked}. The band is the 95 % bootstrap interval, the dashed line is chance.</figcaption></figure>",
        f"<figure>{rank_histogram(examination.first_ranks, examination.gallery)}<figcaption>Share of the queries by "
        f"the rank of the very photograph, exact search, {asked}. Dashed: a random order.</figcaption></figure>",
    ]


def _table(figures: Sequence[Figure]) -> str:
    heads = ("", "value", "95 % interval", "chance", "ceiling", "queries", "gallery", "definition")
    rows = []
    for f in figures:
        value, low, high, chance, ceiling = (number(x, f.name) for x in (f.value, f.low, f.high, f.chance, f.ceiling))
        interval = f"{low} – {high}"
        cells = (f.name, value, interval, chance, ceiling, f"{f.queries:,}", f"{f.gallery:,}", f.definition)
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _groups(examination: Examination) -> list[str]:
    if not examination.groups:
        return []
    parts = [
        "<h2>By attribute</h2>",
        f'<p class="note">hit@10, text to image, by product, over the whole gallery of {examination.gallery:,}: '
        "queries grouped by what their item is. Groups with fewer than 20 queries are left out. Lines are 95 % "
        "intervals; with many groups, one in twenty misses its true value by chance.</p>",
    ]
    for name, groups in groupby(examination.groups, key=lambda group: group.field):
        parts.append(f"<h3>{escape(name)}</h3><figure>{group_bars(list(groups))}</figure>")
    return parts


def _cases(heading: str, note: str, cases: Sequence[Case], picture: Callable[[str], str]) -> list[str]:
    if not cases:
        return []
    parts = [f'<h2>{heading}</h2><p class="note">{note} First the photograph asked for, then the first five hits.</p>']
    for case in cases:
        rank = "not in the gallery" if case.rank is None else f"rank {case.rank:,}"
        hits = "".join(_hit(case, hit, score, picture) for hit, score in zip(case.hits, case.scores, strict=True))
        parts.append(_case(case.query.text, rank, case.query.item_id, hits, picture))
    return parts


def _truth_cases(heading: str, cases: Sequence[TruthCase], picture: Callable[[str], str]) -> list[str]:
    note = "First one of the right answers, then the first five hits."
    parts = [f'<h2>{heading}</h2><p class="note">{note}</p>']
    for case in cases:
        rank = "no right answer among the first 10" if case.rank is None else f"rank {case.rank:,}"
        hits = "".join(
            f'<li class="right">{picture(hit)}<b>right</b></li>' if hit in case.right else f"<li>{picture(hit)}</li>"
            for hit in case.hits
        )
        parts.append(_case(case.text, rank, case.wanted, hits, picture))
    return parts


def _case(text: str, rank: str, wanted: str, hits: str, picture: Callable[[str], str]) -> str:
    return (
        f'<div class="case"><p>{escape(text)} <span class="rank">{rank}</span></p><ul class="hits">'
        f'<li class="asked">{picture(wanted)}asked for: {escape(wanted)}</li>{hits}</ul></div>'
    )


def _hit(case: Case, hit: str, score: float, picture: Callable[[str], str]) -> str:
    if hit == case.query.item_id:
        return f'<li class="right">{picture(hit)}<b>the right one</b> {score:.3f}</li>'
    also = (
        " same product" if hit in case.query.product else " equal caption" if hit in case.query.equal_caption else ""
    )
    return f"<li>{picture(hit)}{score:.3f}{also}</li>"


def _pictures(thumbnail: Thumbnail | None) -> Callable[[str], str]:
    def picture(item_id: str) -> str:
        jpeg = thumbnail(item_id) if thumbnail else None
        if jpeg is None:
            return f'<span class="blank" title="{escape(item_id)}"></span>'
        return f'<img alt="{escape(item_id)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'

    return picture


def _definitions() -> str:
    rows = [*DEFINITIONS.items(), *((f"relevance: {name}", text) for name, text in RELEVANCES.items())]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}.</dd>" for name, text in rows)
    return f"<h2>Definitions</h2><dl>{listed}</dl>"
