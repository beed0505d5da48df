"""Triton's liveness probe: `python3 -m controllable_inference.serving.liveness PORT`, exit status 1 for dead.

The frontend knows how the engine is, for it asks the model (health.py). Only its word counts: that it is away
or hangs is its own probe's matter, and no reason to end an engine that may be well. It is run every few
seconds, so it imports little.
"""

import http.client
import sys

PATIENCE = 8.0  # seconds: a verdict takes at most 5


def verdict(port: int) -> tuple[bool, str]:
    """Whether the engine may live on, and what the frontend says; true where it says nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        return answer.status != 503, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return True, f"the frontend does not answer: {error}"
    finally:
        connection.close()


if __name__ == "__main__":
    alive, reason = verdict(int(sys.argv[1]))
    print(reason)  # kubelet shows it in an Event
    sys.exit(not alive)
