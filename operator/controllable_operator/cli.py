"""`controllable-operator run`: the operator's process."""

import argparse
import logging
import os
from functools import partial

import kopf
from prometheus_client import start_http_server

from controllable_operator import handlers
from controllable_operator.client import Client
from controllable_operator.controller import Controller, all_models
from controllable_operator.discovery import Discovery, discover
from controllable_operator.reconcile import reconcile
from controllable_operator.settings import Settings

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
            "CONTROLLABLE_PROMETHEUS_URL, where KEDA finds Prometheus."
        ),
    )
    run.add_argument(
        "--health-port", type=int, default=8081, help="port of /healthz, 0 for none (%(default)s)"
    )
    run.add_argument(
        "--metrics-port", type=int, default=8080, help="port of /metrics, 0 for none (%(default)s)"
    )
    run.add_argument(
        "--log-level", default=os.environ.get("CONTROLLABLE_LOG_LEVEL", "INFO"), help="(%(default)s)"
    )
    return parser


def run(health_port: int, metrics_port: int) -> None:
    """Run the operator until SIGTERM."""
    client, settings = Client.from_environment(), Settings.from_environment()
    if not settings.runtime_image:
        logger.warning("CONTROLLABLE_RUNTIME_IMAGE is not set: every model has to name spec.serving.image")
    if metrics_port:
        start_http_server(metrics_port)

    def reconcile_one(namespace: str, name: str, failures: int) -> None:
        reconcile(client, settings, discovery.cluster, namespace, name, failures)

    controller = Controller(reconcile_one, partial(all_models, client))
    discovery = Discovery(partial(discover, client), controller.note_all)
    kopf.run(
        registry=handlers.registry(controller, discovery),
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
    run(arguments.health_port, arguments.metrics_port)


if __name__ == "__main__":
    main()
