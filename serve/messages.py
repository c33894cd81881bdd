"""What is asked over HTTP, as OpenAPI describes it."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.errors import UsageError
from engine.filters import joined, load_filter, parse_where
from engine.records import FilterJSON
from engine.remote import DEEPEST
from engine.rerank import Reranker
from engine.search import Page, Query
from serve.fetch import OpenImage

MAX_LIMIT = 1000
MAX_TEXT = 2000
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Id = Annotated[str, Field(min_length=1, max_length=1024)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-100, le=100)]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
LeastScore = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Cursor = Annotated[str, Field(max_length=64)]


class Asked(BaseModel):
    """A request body; a field that it does not know is an error, not a silence."""

    model_config = ConfigDict(extra="forbid")


class Weights(Asked):
    """How much each part of a query counts: all photographs together, all `like`, all `unwanted`, all `unlike`.

    Several of a kind are one part, their mean; `unwanted` is the weight of both kinds that are taken away.
    """

    text: Number = 1.0
    images: Number = 1.0
    like: Number = 1.0
    unwanted: Number = 0.5


class SearchRequest(Asked):
    """A query: any mixture of words, photographs and stored items; without any, the filter alone decides."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"text": "long sleeve denim", "limit": 12},
                {
                    "text": "summer dress",
                    "unwanted": ["floral"],
                    "filter": {"must": [{"key": "gender", "match": {"value": "Women"}}]},
                },
                {"like": ["15970"], "unlike": ["39386"], "group_by": "product_id"},
            ]
        },
    )
    text: Text = ""
    unwanted: Annotated[list[Text], Field(max_length=16, description="Words for what it should not look like.")] = []
    images: Annotated[
        list[str], Field(max_length=8, description="Photographs: data URLs, or addresses if enabled.")
    ] = []
    like: Annotated[list[Id], Field(max_length=64, description="Item or point ids of what it should resemble.")] = []
    unlike: Annotated[list[Id], Field(max_length=64, description="Item or point ids of what it should not.")] = []
    weights: Weights = Weights()
    filter: Annotated[dict[str, Any] | None, Field(description="Qdrant's REST JSON.")] = None
    where: Annotated[list[Text], Field(max_length=32, description="Filters such as colour=red or price<50.")] = []
    limit: Limit = 24
    cursor: Annotated[Cursor | None, Field(description="`next` of the page before.")] = None
    group_by: Annotated[Id | None, Field(description="One hit per value of this field.")] = None
    min_score: LeastScore | None = None
    exact: Annotated[bool, Field(description="Compare with every photograph.")] = False
    rerank: Reranker | None = None
    explain: Annotated[bool, Field(description="Say what was done, and how long it took.")] = False

    def query(self, open_image: OpenImage) -> Query:
        """Return what is asked for, its photographs opened. Raises: ImageError, UsageError."""
        weights = self.weights
        return Query(
            *(self.text, self.unwanted, [open_image(url) for url in self.images], self.like, self.unlike),
            *(weights.text, weights.images, weights.like, weights.unwanted),
        )

    def page(self) -> Page:
        """Return which hits are wanted, one more than shown, to know whether others follow. Raises: FilterError."""
        wanted = joined(checked_filter(self.filter), parse_where(self.where))
        offset = offset_of(self.cursor)
        return Page(wanted, self.limit + 1, offset, self.min_score, self.exact, self.group_by, self.rerank)


class UploadedSearch(Asked):
    """A query as a form: a photograph, and words beside it."""

    file: Annotated[UploadFile, Field(description="A photograph.")]
    q: Text = ""
    where: Annotated[list[Text], Field(max_length=32)] = []
    limit: Limit = 24
    cursor: Cursor | None = None


class RecommendRequest(Asked):
    """Stored items to resemble, and others not to: `like` and `unlike` of a search, and Qdrant's average strategy."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"positive": ["15970"], "limit": 12}]})
    positive: Annotated[list[Id], Field(min_length=1, max_length=64)]
    negative: Annotated[list[Id], Field(max_length=64)] = []
    filter: Annotated[dict[str, Any] | None, Field(description="Qdrant's REST JSON.")] = None
    limit: Limit = 24


class EmbeddingsRequest(BaseModel):
    """OpenAI's shape; an input that begins as `data:image/jpeg;base64,` does is embedded as a photograph."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["a red dress"], "model": "fashion-small"}]})
    input: Text | Annotated[list[Annotated[str, Field(max_length=28_000_000)]], Field(min_length=1, max_length=64)]
    model: Annotated[str, Field(max_length=200)] = ""
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = None

    @field_validator("input", mode="before")
    @classmethod
    def check_no_tokens(cls, given: object) -> object:
        """Refuse the ids that OpenAI takes in place of texts; those of its tokenizer mean nothing to another."""
        if isinstance(given, list) and any(isinstance(one, int | list) for one in given):
            raise UsageError("token ids are not taken, as they are another tokenizer's: send texts")
        return given


class InferenceInput(BaseModel):
    """One thing to embed, as Qdrant sends it."""

    data: Annotated[str, Field(max_length=28_000_000)]
    data_type: Literal["text", "image"] = "text"
    model: str = ""
    options: Any = None


class InferenceRequest(BaseModel):
    """What a Qdrant server sends to its inference service."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": [{"data": "a red dress"}]}]})
    inputs: Annotated[list[InferenceInput], Field(min_length=1, max_length=64)]
    inference: str = "search"
    token: str | None = None


def checked_filter(filter: dict[str, Any] | None) -> FilterJSON | None:
    """Return a filter that Qdrant would take. Raises: FilterError."""
    return load_filter(json.dumps(filter)) if filter else None


def cursor_of(offset: int) -> str:
    """Return the cursor of the page that begins at ``offset``."""
    return base64.urlsafe_b64encode(f"after {offset}".encode()).decode().rstrip("=")


def offset_of(cursor: str | None) -> int:
    """Return where a page begins. Raises: UsageError for a cursor that this server did not make."""
    if cursor is None:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition(" ")
    except (binascii.Error, ValueError):
        word, number = "", ""
    if word != "after" or not number.isdecimal() or not int(number) <= DEEPEST:
        raise UsageError(f"cursor {cursor!r} is none of ours: give back `next` as it came, up to {DEEPEST} hits")
    return int(number)
