"""A load of chat requests, run inside a pod: python3 -c … URL. Ends when its standard input does.

Every client asks again as soon as it was answered, on the connection it has, as clients with a pool do. For
each line that is read, prints a JSON line: what came until then, and what went wrong.
"""

import asyncio
import json
import sys
from collections import Counter

import httpx

SHORT = {"messages": [{"role": "user", "content": "1 + 1"}], "max_tokens": 8, "reasoning_effort": "none"}
# Still running when the pod that answers it is told to stop.
LONG = {
    "messages": [{"role": "user", "content": "Sort: " + ", ".join(str(n * 37 % 101) for n in range(40))}],
    "max_tokens": 300,
    "reasoning_effort": "high",
}
RECONNECT = 20  # requests on one connection
PAUSE = 0.05  # for each client, so that a small machine has time for starting pods


class Load:
    """Clients, and what became of their requests."""

    def __init__(self, url: str) -> None:
        self.url, self.done, self.failures = url, Counter(), []

    async def client(self, kind: str, body: dict, stream: bool) -> None:
        # One connection each, and no retry that would hide a loss. A new one now and then: a Service chooses
        # a pod for each connection, so a pod that comes gets no request of those who keep theirs.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        while True:
            async with httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits) as http:
                for _ in range(RECONNECT):
                    try:
                        await (self.streamed if stream else self.whole)(http, body | {"model": "nano"})
                        self.done[kind] += 1
                    except Exception as error:
                        self.failures.append(f"{kind}: {type(error).__name__}: {error}"[:300])
                    await asyncio.sleep(PAUSE)

    async def whole(self, http: httpx.AsyncClient, body: dict) -> None:
        answer = await http.post("/v1/chat/completions", json=body)
        answer.raise_for_status()
        assert answer.json()["choices"][0]["finish_reason"] in {"stop", "length"}, answer.text

    async def streamed(self, http: httpx.AsyncClient, body: dict) -> None:
        async with http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
            answer.raise_for_status()
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        assert lines[-1] == "data: [DONE]", f"the stream ended with {lines[-1:]}"

    async def run(self) -> None:
        clients = [
            *(self.client("unary", SHORT, stream=False) for _ in range(3)),
            *(self.client("stream", SHORT, stream=True) for _ in range(3)),
            self.client("long stream", LONG, stream=True),
        ]
        tasks = [asyncio.create_task(client) for client in clients]
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"done": self.done, "failures": self.failures}), flush=True)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(Load(sys.argv[1]).run())
