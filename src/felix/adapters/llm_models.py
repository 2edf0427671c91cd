"""Language models by name: OpenAI's, Anthropic's, and whatever speaks OpenAI's language at an address of its own.

Importing the SDKs takes seconds and 80 MB, so nothing imports this module before a model is asked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from felix.adapters.outbound import CONNECT_TIMEOUT_S, check_address
from felix.domain.errors import Invalid

#: A plan has kilobytes; what answers with more is no model.
MAX_ANSWER_BYTES = 4 * 2**20
#: What is sent where there is no key, as to a server of one's own: the SDKs take an empty one from the environment.
NO_KEY = "none"
_NAME = re.compile(r"(openai|anthropic):([A-Za-z0-9][A-Za-z0-9._:/-]{0,150})", re.ASCII)
_ADDRESSES = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}

#: A model for as long as one run lasts; it is opened with the key.
OpenModel = Callable[[str], AbstractAsyncContextManager[Model]]


class ModelNotKnown(Invalid):
    """A model is written provider:model, the provider being openai or anthropic."""


class _AnswerTooLong(httpx2.HTTPError):
    """More came back than can be meant."""


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """Which model to ask, and where."""

    provider: str
    model: str
    base_url: str

    @classmethod
    def of(cls, name: str, base_url: str | None = None) -> ModelEndpoint:
        """From ``openai:gpt-5``, at the provider's own address or another. Raises :class:`ModelNotKnown`, and
        ``AddressNotSafe`` for plain HTTP to anywhere but this machine."""
        if (match := _NAME.fullmatch(name)) is None:
            raise ModelNotKnown(model=name[:200])
        address = check_address(base_url or _ADDRESSES[match[1]])
        return cls(match[1], match[2], str(address).rstrip("/"))

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Model]:
        """The model, with connections of its own that end with the run. Redirects are errors: they would take the key
        elsewhere."""
        key = key or NO_KEY
        async with httpx2.AsyncClient(
            follow_redirects=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "felix"},
            timeout=httpx2.Timeout(60.0, connect=CONNECT_TIMEOUT_S),
            event_hooks={"response": [_limit]},
        ) as client:
            if self.provider == "anthropic":
                yield AnthropicModel(
                    self.model, provider=AnthropicProvider(api_key=key, base_url=self.base_url, http_client=client)
                )
            else:
                yield OpenAIChatModel(
                    self.model, provider=OpenAIProvider(api_key=key, base_url=self.base_url, http_client=client)
                )


async def _limit(response: httpx2.Response) -> None:
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    response.stream = _Limited(stream)


class _Limited(httpx2.AsyncByteStream):
    """A body that ends in an error once it is longer than any answer."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ANSWER_BYTES
        async for chunk in self._body:
            left -= len(chunk)
            if left < 0:
                raise _AnswerTooLong("The model answers with more than can be meant.")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()
