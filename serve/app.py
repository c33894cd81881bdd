"""SERVE: a request --checked--> query --engine.search--> hits as JSON. The routes, top-down."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Form, Header, Query
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from engine.encoder import Encoder
from engine.errors import ImageError
from engine.filters import parse_where
from engine.passport import check_fingerprint, check_golden_images, check_golden_texts
from engine.records import FilterJSON, Record
from engine.remote import DEEPEST
from engine.rerank import Reranker
from engine.search import Page, named_points, search
from engine.search import Query as Wanted
from engine.store.protocol import SearchSpec, Store
from engine.store.requests import facet_fields
from serve.answers import FacetsAnswer, FoundItem, SearchAnswer, found
from serve.batcher import BatchingEncoder
from serve.content import Content
from serve.embeddings import embedding_routes
from serve.fetch import Fetcher, OpenImage, from_data_url, opened
from serve.guard import Guard, Limits, with_security_headers
from serve.messages import (
    Cursor,
    Id,
    LeastScore,
    Limit,
    RecommendRequest,
    SearchRequest,
    Text,
    UploadedSearch,
    checked_filter,
    cursor_of,
)
from serve.openapi import PROBLEMS, bytes_of, complete
from serve.pictures import SHOWN_AS_IT_IS, WIDTHS, original, small
from serve.problems import handle_problems, only_known
from serve.shell import page_routes
from serve.stages import Stages
from serve.store import store_routes
from serve.watch import watch_routes

Where = Annotated[list[Text] | None, Query(max_length=32, description="Filters such as colour=red or price<50.")]


def make_app(store: Store, encoder: Encoder, limits: Limits | None = None) -> ASGIApp:
    """Return the ASGI application over one open collection; it closes neither ``store`` nor ``encoder``.

    Raises:
        PassportError: the encoder no longer computes what it did when the collection was made.
    """
    passport = store.spec().passport
    check_golden_texts(passport, encoder)
    check_golden_images(passport, encoder)
    for words in ("a warm coat", "a warm hat", "warm socks"):  # whoever comes first need not wait for the lazy parts
        search(store, encoder, Wanted(words), Page(limit=1))
    limits = limits or Limits()
    stages = Stages()
    batching = BatchingEncoder(encoder, stages)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        batching.close()

    app = FastAPI(
        title="Fashion search engine",
        description="Semantic search over a collection of fashion photographs.",
        version="1",
        docs_url=None,  # their pages load scripts from a third party
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(only_known)],
        responses=PROBLEMS,
    )
    handle_problems(app)
    _search_routes(app, store, batching, stages, Fetcher() if limits.image_urls else from_data_url)
    _item_routes(app, store, stages)
    embedding_routes(app, store, batching)
    watch_routes(app, store, batching, stages, limits.instance)
    store_routes(app, store, stages, writes=limits.writes)
    page_routes(app)
    complete(app, keyed=limits.key is not None)
    guarded: ASGIApp = Guard(app, limits, stages)
    if limits.origins:
        guarded = CORSMiddleware(guarded, limits.origins, allow_methods=["GET", "POST"], allow_headers=["*"])
    return with_security_headers(guarded)


def _search_routes(
    app: FastAPI, store: Store, encoder: BatchingEncoder, stages: Stages, open_image: OpenImage
) -> None:
    def answer(wanted: Wanted, page: Page, *, explain: bool = False) -> JSONResponse:
        started = time.perf_counter()
        check_fingerprint(store.spec().passport, encoder.checkpoint)  # on a server it may be another's since we began
        with stages.stage("search"):
            hits = search(store, encoder, wanted, page)
        shown = hits[: page.limit - 1]
        following = page.offset + len(shown)
        body: dict[str, Any] = {
            "hits": [found(hit.id, hit.payload, None if wanted.is_empty else hit) for hit in shown],
            "next": cursor_of(following) if len(hits) > len(shown) and following <= DEEPEST else None,
        }
        if explain:
            body["explain"] = {
                "ms": round(1000 * (time.perf_counter() - started), 3),
                "tokens": encoder.count_tokens(wanted.text) if wanted.text else 0,
                "context": encoder.checkpoint.context,
                "checkpoint": encoder.checkpoint.fingerprint[:12],
                "filter": page.filter,
                "exact": page.exact,
            }
        return JSONResponse(body)

    @app.post("/v1/search", response_model=SearchAnswer, tags=["search"])
    def search_by_body(asked: SearchRequest) -> JSONResponse:
        """Search by words, photographs, stored items, or any weighted mixture of them."""
        return answer(asked.query(open_image), asked.page(), explain=asked.explain)

    @app.get("/v1/search", response_model=SearchAnswer, tags=["search"])
    def search_by_address(
        q: Annotated[Text, Query(examples=["long sleeve denim"])] = "",
        where: Where = None,
        like: Annotated[list[Id] | None, Query(max_length=64)] = None,
        unlike: Annotated[list[Id] | None, Query(max_length=64)] = None,
        unwanted: Annotated[list[Text] | None, Query(max_length=16)] = None,
        limit: Limit = 24,
        cursor: Cursor | None = None,
        group_by: Id | None = None,
        min_score: LeastScore | None = None,
        exact: bool = False,
        rerank: Reranker | None = None,
        explain: bool = False,
    ) -> JSONResponse:
        """Search by an address that can be kept as a bookmark; see `POST /v1/search` for all there is."""
        asked = SearchRequest(
            text=q,
            like=like or [],
            unlike=unlike or [],
            unwanted=unwanted or [],
            where=where or [],
            limit=limit,
            cursor=cursor,
            group_by=group_by,
            min_score=min_score,
            exact=exact,
            rerank=rerank,
        )
        return answer(asked.query(open_image), asked.page(), explain=explain)

    @app.post("/v1/search/image", response_model=SearchAnswer, tags=["search"])
    def search_by_upload(
        asked: Annotated[UploadedSearch, Form(media_type="multipart/form-data")],
    ) -> JSONResponse:
        """Search by a photograph that is sent as a form, with words beside it if wanted."""
        page = SearchRequest(where=asked.where, limit=asked.limit, cursor=asked.cursor).page()
        return answer(Wanted(asked.q, images=[opened(asked.file.file.read())]), page)

    @app.post("/v1/recommend", response_model=SearchAnswer, tags=["search"])
    def recommend(asked: RecommendRequest) -> JSONResponse:
        """Find what resembles some stored items and not others."""
        return _resembling(store, stages, asked.positive, asked.negative, checked_filter(asked.filter), asked.limit)

    @app.get("/v1/facets", response_model=FacetsAnswer, tags=["search"])
    def facets(
        field: Annotated[list[Id] | None, Query(max_length=64)] = None,
        where: Where = None,
        limit: Limit = 20,
    ) -> JSONResponse:
        """Count the values of fields, all that can be counted or those named, among what passes the filter."""
        kinds = store.spec().fields
        wanted = parse_where(where or [])
        with stages.stage("facets"):
            counts = {name: store.facet(name, wanted, limit) for name in field or facet_fields(kinds)}
        facets = {name: [{"value": value, "count": n} for value, n in found] for name, found in counts.items()}
        return JSONResponse({"fields": dict(kinds), "total": store.count(wanted), "facets": facets})


def _item_routes(app: FastAPI, store: Store, stages: Stages) -> None:
    @app.get("/v1/items/{id:path}/similar", response_model=SearchAnswer, tags=["items"])
    def similar(id: Id, limit: Limit = 24) -> JSONResponse:
        """Find what looks like one item."""
        return _resembling(store, stages, [id], [], None, limit)

    @app.get("/v1/items/{id:path}", response_model=FoundItem, tags=["items"])
    def item(id: Id) -> JSONResponse:
        """Return all that the collection knows of one item; ``id`` is its item id or its point id."""
        record = _known(store, id)
        return JSONResponse(found(record.id, record.payload or {}))

    @app.get("/v1/images/{id:path}/thumb", tags=["items"], response_class=Response, responses=bytes_of("image/jpeg"))
    def thumb(
        id: Id, w: Annotated[int, Query(ge=1, le=WIDTHS[-1])] = 320, if_none_match: Annotated[str, Header()] = ""
    ) -> Response:
        """Return a small JPEG of an item's photograph, at least ``w`` pixels on its longer side if it has them."""
        payload = _known(store, id).payload or {}
        width = next(width for width in WIDTHS if width >= w)
        with stages.stage("thumb"):
            return _picture(
                lambda: small(str(payload.get("uri", "")), str(payload.get("sha256", "")), width), if_none_match
            )

    @app.get("/v1/images/{id:path}", tags=["items"], response_class=Response, responses=bytes_of(*SHOWN_AS_IT_IS))
    def image(id: Id, if_none_match: Annotated[str, Header()] = "") -> Response:
        """Return an item's photograph."""
        payload = _known(store, id).payload or {}
        return _picture(lambda: original(str(payload.get("uri", ""))), if_none_match)


def _resembling(
    store: Store,
    stages: Stages,
    positive: Sequence[str],
    negative: Sequence[str],
    wanted: FilterJSON | None,
    limit: int,
) -> JSONResponse:
    """Answer what resembles some items and not others, by their ids. Raises: HTTPException 404."""
    likes, dislikes = ([_known(store, one).id for one in ids] for ids in (positive, negative))
    nothing = np.zeros(store.spec().dimension, dtype=np.float32)
    with stages.stage("search"):
        hits = store.recommend(likes, dislikes, SearchSpec(nothing, wanted, limit))
    return JSONResponse({"hits": [found(hit.id, hit.payload, hit) for hit in hits], "next": None})


def _known(store: Store, id: str) -> Record:
    """Return the point of an item id or of a point id. Raises: HTTPException 404."""
    if found := named_points(store, [id]):
        return found[id]
    raise HTTPException(404, f"the collection has no item {id[:80]!r}")


def _picture(make: Callable[[], Content], if_none_match: str) -> Response:
    try:
        picture = make()
    except ImageError as error:
        raise HTTPException(404, f"the photograph cannot be shown: {error}") from error
    return picture.answer(if_none_match, "private, max-age=3600")
