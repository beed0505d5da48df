"""What each command reads, and where its answer goes. The answers themselves are made elsewhere, purely."""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from controllable_operator.conditions import condition
from controllable_operator.desired.common import HTTP_PORT, INSTANCE_LABEL, NAME_LABEL
from controllable_operator.kinds import GPU_KINDS, MULTI_NODE_KINDS, POD
from controllable_operator.placement import Gpus, inventory
from controllable_operator.plugin import ask as asking
from controllable_operator.plugin import capabilities as offers
from controllable_operator.plugin import diagnosis, gpu_map, tree, view
from controllable_operator.plugin import events as event_list
from controllable_operator.plugin import fleet as fleet_list
from controllable_operator.plugin import multi_node as spanning
from controllable_operator.plugin import status as one_model
from controllable_operator.plugin import top as load
from controllable_operator.plugin.connection import PARALLEL, Connection
from controllable_operator.plugin.errors import ModelSilent, NotAllowed, PluginError
from controllable_operator.plugin.models import model as find_model
from controllable_operator.plugin.models import models as find_models
from controllable_operator.plugin.models import pods as find_pods
from controllable_operator.plugin.served import Served, served

Options = argparse.Namespace
Document = dict[str, Any]

_WATCH_SECONDS = 2.0
_SCRAPE_SECONDS = 10.0
_FLEET_FRAME = 4  # lines around the models


def status(options: Options) -> None:
    """`status NAME`."""
    connection, namespace = _connect(options)

    def look() -> Document:
        return one_model.gather(connection, namespace, options.name)

    _show(options, look, lambda document: one_model.render(document, view.now()))


def events(options: Options) -> None:
    """`events NAME`."""
    connection, namespace = _connect(options)
    model = find_model(connection, namespace, options.name)
    objects, _ = tree.collect(connection, model)
    uids = {item["metadata"]["uid"] for item in (model, *objects)}
    document = {"events": event_list.events(connection, namespace, uids)}
    _show(options, lambda: document, lambda found: event_list.render(found["events"], view.now()))


def fleet(options: Options) -> None:
    """`fleet`."""
    connection, namespace = _connect(options)
    scope = None if options.all_namespaces else namespace

    def look() -> Document:
        return fleet_list.build(find_models(connection, scope, options.selector))

    def render(document: Document) -> RenderableType:
        # What does not fit on a screen that is drawn again and again is lost; here it is the models in order.
        room = view.console().height - _FLEET_FRAME if options.watch and sys.stdout.isatty() else None
        return fleet_list.render(document, view.now(), scope is None, room)

    _show(options, look, render)


def gpus(options: Options) -> None:
    """`gpus`."""
    connection, _ = _connect(options)

    def look() -> Document:
        return gpu_map.read(connection)

    if options.output in ("html", "svg"):
        draw = gpu_map.page if options.output == "html" else gpu_map.picture
        print(draw(view.printable(look())), end="")
    else:
        _show(options, look, gpu_map.render)


def capabilities(options: Options) -> None:
    """`capabilities`."""
    connection, _ = _connect(options)
    kinds = served(connection)
    document = offers.build(kinds, _gpus(connection, kinds))
    _show(options, lambda: document, offers.render)


def multi_node(options: Options) -> None:
    """`multi-node NAME`."""
    connection, namespace = _connect(options)
    model = find_model(connection, namespace, options.name)
    document = spanning.build(model, _gpus(connection, served(connection)), options.runtime_image)
    print(spanning.WARNING, file=sys.stderr)
    print(view.dump(document, options.output))


def top(options: Options) -> None:
    """`top [NAME]`."""
    connection, namespace = _connect(options)
    if options.name:
        find_model(connection, namespace, options.name)
        pods = find_pods(connection, namespace, options.name)
    else:
        scope = None if options.all_namespaces else namespace
        pods = connection.list(POD.path(scope), labelSelector=f"{NAME_LABEL}=controllable-model")
    with ThreadPoolExecutor(PARALLEL) as pool:
        before = list(pool.map(lambda pod: _scrape(connection, pod), pods))
        started = time.monotonic()
        time.sleep(options.seconds if pods else 0)
        seconds = time.monotonic() - started
        after = list(pool.map(lambda pod: _scrape(connection, pod), pods))
    rows = [_load(*looks, seconds) for looks in zip(pods, before, after, strict=True)]
    document = load.build(rows, options.seconds)
    _show(options, lambda: document, load.render)


def ask(options: Options) -> None:
    """`ask NAME QUESTION`."""
    connection, namespace = _connect(options)
    model = find_model(connection, namespace, options.name)
    pod = _answering(connection, model)
    body = asking.request(
        options.name,
        options.question,
        adapter=options.adapter,
        effort=options.effort,
        max_paths=options.max_paths,
        max_tokens=options.max_tokens,
        seed=options.seed,
    )
    console = view.console() if options.output == "text" else None
    started = time.monotonic()
    with connection.http_to_pod(namespace, pod, HTTP_PORT) as http:
        answer = asking.show(asking.send(http, body), console)
    if console:
        console.print(Text(asking.account(answer, time.monotonic() - started), style="dim"))
    else:
        print(view.dump(answer.to_json(options.name), options.output))


def _gpus(connection: Connection, kinds: list[Served]) -> Gpus | None:
    """What the cluster has, an administrator's own attribute apart; None without the right to see it."""
    try:
        nodes, slices, classes = (connection.list_served(kind.path(None)) for kind in GPU_KINDS)
        both = all(offers.version(kind, kinds) for kind in MULTI_NODE_KINDS)
        return inventory(nodes, slices, classes, multi_node=both)
    except NotAllowed:
        return None


def _connect(options: Options) -> tuple[Connection, str]:
    connection = Connection.open(options.kubeconfig, options.context)
    return connection, options.namespace or connection.namespace


def _show(
    options: Options, look: Callable[[], Document], render: Callable[[Document], RenderableType]
) -> None:
    if options.output != "table":
        print(view.dump(look(), options.output))
    elif not getattr(options, "watch", False):
        view.emit(render(view.printable(look())), sys.stdout)
    else:
        _watch(lambda: view.printable(look()), render)


def _watch(look: Callable[[], Document], render: Callable[[Document], RenderableType]) -> None:
    """Look again and again: in place on a terminal, elsewhere one after another, when something changed."""
    if not sys.stdout.isatty():
        before = None
        while True:
            if (document := look()) != before:
                view.emit(render(document), sys.stdout)
                print(flush=True)
                before = document
            time.sleep(_WATCH_SECONDS)
    with Live(render(look()), console=view.console(), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(_WATCH_SECONDS)
            live.update(render(look()), refresh=True)


def _answering(connection: Connection, model: Document) -> str:
    """A pod of the model that is ready.

    Raises:
        ModelSilent: there is none; the message tells why.
    """
    meta = model["metadata"]
    for pod in find_pods(connection, meta["namespace"], meta["name"]):
        if condition(pod, "Ready").get("status") == "True" and "deletionTimestamp" not in pod["metadata"]:
            return str(pod["metadata"]["name"])
    wrong = diagnosis.first_wrong(model)
    why = f"{wrong['reason']}: {wrong['message']}" if wrong else condition(model, "Ready").get("message", "")
    raise ModelSilent(
        f"no pod of {meta['name']} answers ({why}); "
        f"see kubectl controllable -n {meta['namespace']} status {meta['name']}"
    )


def _scrape(connection: Connection, pod: Document) -> load.Scrape | str:
    """One look at a pod, or why it can't be had."""
    meta = pod["metadata"]
    if condition(pod, "Ready").get("status") != "True":
        return "not ready"
    try:
        with connection.http_to_pod(meta["namespace"], meta["name"], HTTP_PORT, _SCRAPE_SECONDS) as http:
            return load.Scrape(load.read_metrics(http))
    except PluginError as error:
        return str(error)
    except ValueError as error:
        return f"its /metrics can't be read: {error}"


def _load(pod: Document, before: load.Scrape | str, after: load.Scrape | str, seconds: float) -> Document:
    meta = pod["metadata"]
    named = meta["namespace"], meta["labels"][INSTANCE_LABEL], meta["name"]
    if isinstance(before, str):
        return load.failed_row(*named, before)
    if isinstance(after, str):
        return load.failed_row(*named, after)
    return load.pod_row(*named, before, after, seconds)
