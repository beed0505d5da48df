"""The HTTP session through which kopf watches.

On one answer 401, and on one way for a connection to end, kopf closes its session and with it every watch;
aiohttp then ends each watch with a RuntimeError, at which kopf ends. Neither is worth that: a pod's token is
renewed on its disk every hour, and the next connection is one request away. So kopf is shown neither.
"""

import asyncio
import logging

import aiohttp
import kopf
from aiohttp import hdrs

from controllable_operator.client import Client
from controllable_operator.errors import ApiError

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0


def session(info: kopf.ConnectionInfo, client: Client, trace: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    """A session for kopf, which makes each request with the credentials that `client` has at that moment."""

    async def authorized(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        while True:
            try:
                if header := client.authorization():
                    request.headers[hdrs.AUTHORIZATION] = header
                response = await handler(request)
            except (ApiError, aiohttp.ClientConnectionError) as error:
                # Not as it is: kopf reads the text of errors, and looks for that one way to end.
                raise aiohttp.ClientConnectionError(type(error).__name__) from error
            if response.status != 401:
                return response
            response.release()
            logger.warning(
                "%s: the API server does not take our credentials; again in %g s",
                request.url.path,
                _RETRY_SECONDS,
            )
            await asyncio.sleep(_RETRY_SECONDS)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        trust_env=info.trust_env,
        trace_configs=[trace],
        middlewares=[authorized],
    )
