"""What the document is made of, from the API server."""

from typing import Any

from controllable_operator.kinds import NODE, POD, RESOURCE_CLAIM, RESOURCE_SLICE
from controllable_operator.plugin.connection import Connection
from controllable_operator.plugin.gpu_map.document import build
from controllable_operator.plugin.models import models

_HAVING = "status.phase!=Succeeded,status.phase!=Failed"  # a pod that has ended has no GPUs any more


def read(connection: Connection) -> dict[str, Any]:
    """The document for the whole cluster, as it is now."""
    return build(
        connection.list(NODE.path(None)),
        connection.list_served(RESOURCE_SLICE.path(None)),
        connection.list_served(RESOURCE_CLAIM.path(None)),
        connection.list(POD.path(None), fieldSelector=_HAVING),
        models(connection, None),
    )
