"""Reading over HTTP from any byte on, and failures in words."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch.download import Transient

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


def client(headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client that follows redirects; credentials stay with the host that they are for."""
    return httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=True)


@contextmanager
def response(
    client: httpx.Client, url: str, uri: str, what_to_do: str, start: int = 0, validator: str | None = None
) -> Iterator[httpx.Response]:
    """A GET whose body is still to be read, from byte `start` on if it is still what `validator` names.

    Raises Transient, ModelNotFound, ModelFetchFailed. what_to_do: where access is denied.
    """
    # The bytes as they are stored: compressed ones could not be gone on with.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    try:
        with client.stream("GET", url, headers=headers) as answer:
            if url.startswith("https:") and answer.url.scheme != "https":
                raise ModelNotFound(f"{uri}: redirects to {answer.url.host} without encryption; refused")
            check_status(answer.status_code, uri, what_to_do)
            yield answer
    except httpx.TransportError as error:
        raise Transient(why(error, url)) from error
    except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise ModelNotFound(f"{uri}: {error}") from error


def check_status(status: int, uri: str, what_to_do: str) -> None:
    """Raises what an HTTP status stands for, nothing for success."""
    if status < 300:
        return
    if status in (401, 403):
        raise ModelNotFound(f"{uri}: access denied ({status}); {what_to_do}")
    if status in (404, 410):
        raise ModelNotFound(f"{uri}: there is nothing of this name ({status}); check the uri")
    if status in _TRY_AGAIN:
        raise Transient(f"the server answers {status}")
    raise ModelFetchFailed(f"{uri}: the server answers {status}, which it should not")


def begins_at(answer: httpx.Response) -> int:
    """The byte that a response begins with."""
    if answer.status_code != 206:
        return 0
    return int(answer.headers["Content-Range"].removeprefix("bytes ").partition("-")[0])


def why(error: Exception, url: str) -> str:
    """A failed connection in words."""
    host = httpx.URL(url).host
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, socket.gaierror):
            return f"the name {host} can't be resolved; check the URI, the cluster's DNS and its policies"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpx.TimeoutException):
        return f"{host} does not answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {host}: {error}"
    return f"the connection to {host} broke off: {error}"
