"""Streamed responses whose source is closed the moment the client has left."""

from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Send


class ClosingStream(StreamingResponse):
    """Closes its iterator itself: left to the garbage collector, a cancelled request would run on."""

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)
