"""`controllable-operator run`: the operator's process."""

import argparse
import logging
import os
import socket
import uuid

import kopf
from prometheus_client import REGISTRY, start_http_server

from controllable_operator import handlers
from controllable_operator.api import PLURAL
from controllable_operator.client import Client
from controllable_operator.leader import Elector
from controllable_operator.operator import Operator
from controllable_operator.settings import Settings, pods_namespace

logger = logging.getLogger(__name__)

_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="controllable-operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="serve all ControllableModels of the cluster until told to stop",
        description="Serves all ControllableModels of the cluster that it runs in, or else of KUBECONFIG.",
        epilog=(
            "Environment: CONTROLLABLE_RUNTIME_IMAGE, the runtime image of models that name none; "
            "CONTROLLABLE_PROMETHEUS_URL, where Prometheus is; CONTROLLABLE_NVLINK_ATTRIBUTE, an attribute "
            "that the DRA devices of an NVLink group share; CONTROLLABLE_LOG_LEVEL, for --log-level."
        ),
    )
    run.add_argument(
        "--health-port", type=int, default=8081, help="port of /healthz, 0 for none (%(default)s)"
    )
    run.add_argument(
        "--metrics-port", type=int, default=8080, help="port of /metrics, 0 for none (%(default)s)"
    )
    run.add_argument(
        "--leader-elect",
        action="store_true",
        help="work only while holding a Lease, so that several replicas can run",
    )
    run.add_argument(
        "--leader-election-namespace",
        default=pods_namespace() or "default",
        metavar="NAMESPACE",
        help="namespace of that Lease (%(default)s)",
    )
    run.add_argument(
        "--log-level", default=os.environ.get("CONTROLLABLE_LOG_LEVEL", "INFO"), help="(%(default)s)"
    )
    return parser


def _is_not_about_optional_kinds(record: logging.LogRecord) -> bool:
    """kopf warns of every kind that it finds nowhere; only our own has to be there."""
    message = record.getMessage()
    return not message.startswith("Unresolved resources") or PLURAL in message


def run(health_port: int, metrics_port: int, election_namespace: str | None) -> None:
    """Run the operator until SIGTERM. With `election_namespace` only while it holds the Lease there."""
    client, settings = Client.from_environment(), Settings.from_environment()
    if not settings.runtime_image:
        logger.warning("CONTROLLABLE_RUNTIME_IMAGE is not set: every model has to name spec.serving.image")
    elector = None
    if election_namespace:
        elector = Elector(client, election_namespace, f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}")
    operator = Operator(client, settings, elector)
    if metrics_port:
        REGISTRY.register(operator.fleet())
        start_http_server(metrics_port)
    kopf.run(
        registry=handlers.registry(operator),
        settings=handlers.settings(),
        clusterwide=True,
        liveness_endpoint=f"http://0.0.0.0:{health_port}/healthz" if health_port else None,
    )


def main() -> None:
    """Entry point of the command `controllable-operator`."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=arguments.log_level.upper(), format=_LOG_FORMAT)
    # Every event that kopf hands over and every probe of kubelet would be a line that tells nothing.
    for chatty in ("kopf.objects", "kopf.activities.probe", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.observation").addFilter(_is_not_about_optional_kinds)
    election_namespace = arguments.leader_election_namespace if arguments.leader_elect else None
    run(arguments.health_port, arguments.metrics_port, election_namespace)


if __name__ == "__main__":
    main()
