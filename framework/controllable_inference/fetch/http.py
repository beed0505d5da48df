"""Reading over HTTP from any byte on, and failures in words."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.request import getproxies, proxy_bypass

import httpx

from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch.download import Transient

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


def client(headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client that follows redirects; credentials stay with the host that they are for.

    Raises ModelFetchFailed where the environment's proxies or certificates are none.
    """
    try:
        return httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=True)
    except (ImportError, ValueError, OSError) as error:
        what_to_do = "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
        raise ModelFetchFailed(f"no client can be made of this environment: {error}; {what_to_do}") from error


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
    host, scheme = httpx.URL(url).host, httpx.URL(url).scheme
    proxy = getproxies().get(scheme)
    proxied = proxy is not None and not proxy_bypass(host)
    to = f"{host} by the proxy {_without_password(proxy)}" if proxy is not None and proxied else host
    for seen in _causes(error):
        kind = type(seen).__name__  # of httpx, or of what another client calls alike
        if isinstance(seen, socket.gaierror):
            name = "of the proxy" if proxied else host
            return f"the name {name} can't be resolved; check the URI, the cluster's DNS and its policies"
        if isinstance(seen, ssl.SSLError):
            what_to_do = "trust who signed it (SSL_CERT_FILE), or use another HF_ENDPOINT or uri"
            return f"{to}: no trusted TLS connection ({seen.reason or seen}); {what_to_do}"
        if isinstance(seen, ConnectionRefusedError):
            return f"no connection to {to}: it refuses; check the uri, and that the way there is open"
        if isinstance(seen, TimeoutError) or "Timeout" in kind:
            return f"{to} does not answer in time"
        if "ProxyError" in kind:
            return f"the proxy for {host} refuses: {seen}; check {scheme.upper()}_PROXY and NO_PROXY"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {to}: {error}"
    return f"the connection to {to} broke off: {error}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error that was first, and those that came of it."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return reversed(chain)


def _without_password(proxy: str) -> str:
    """A proxy's URL is told in logs and statuses."""
    scheme, _, rest = proxy.rpartition("://")
    return f"{scheme or 'http'}://{rest.rpartition('@')[2]}"
