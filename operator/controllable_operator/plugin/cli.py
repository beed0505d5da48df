"""`kubectl controllable`: the command line."""

import argparse
import io
import os
import signal
import sys

from controllable_operator.plugin import commands
from controllable_operator.plugin.errors import PluginError

_PROGRAM = "kubectl controllable"
COMMANDS = ("status", "top", "ask", "events", "fleet", "gpus", "capabilities", "multi-node")
_EXIT_CODES = """\
exit codes:
  0    it was told; that a model is not ready is news, not a failure (for pipelines: kubectl wait)
  1    it could not be found out; one line on stderr says why, and what to do
  2    the command line makes no sense
  130  interrupted
"""
_EXAMPLES = """\
examples:
  kubectl controllable fleet -A                      every model of the cluster, the broken first
  kubectl controllable status nano                   what nano owns, why it is not ready, what to do
  kubectl controllable ask nano "What is 6 times 7?" a question, its thinking, its answer
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    result = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Looks at ControllableModels: one, all of them, what they do, what they answer.",
        epilog=f"{_EXAMPLES}\n{_EXIT_CODES}",
        formatter_class=_Help,
    )
    subcommands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, help_: str, examples: str, *, first: str = "table", more: tuple[str, ...] = ()
    ) -> argparse.ArgumentParser:
        command = subcommands.add_parser(
            name,
            help=help_,
            description=help_[0].upper() + help_[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=_Help,
            parents=[where()],
        )
        command.set_defaults(run=getattr(commands, name.replace("-", "_")))
        forms = tuple(dict.fromkeys((first, "json", "yaml", *more)))
        command.add_argument("-o", "--output", choices=forms, default=forms[0], help="form (%(default)s)")
        return command

    status = add(
        "status",
        "one model: what it owns, why it is not ready, and what to do",
        "  kubectl controllable status nano\n"
        "  kubectl controllable status nano --watch\n"
        "  kubectl controllable status nano -o json | jq '.findings[0].advice'",
    )
    status.add_argument("name", metavar="NAME", help="of the ControllableModel")
    _add_watch(status)

    top = add(
        "top",
        "what pods are doing: requests, tokens, paths pruned, latency",
        "  kubectl controllable top          all models of this namespace\n"
        "  kubectl controllable top nano --seconds 10",
    )
    top.add_argument("name", metavar="NAME", nargs="?", help="of one ControllableModel")
    top.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    top.add_argument("--seconds", type=_seconds, default=3.0, help="time between two looks (%(default)g)")

    ask = add(
        "ask",
        "ask a model, and see its thinking and what it took",
        '  kubectl controllable ask nano "What is 6 times 7?"\n'
        '  kubectl controllable ask nano "Prove it." --effort high --seed 1\n'
        '  kubectl controllable ask nano "Quickly: 6 times 7?" --no-think\n\n'
        "rights: list pods; get and create pods/portforward",
        first="text",
    )
    ask.add_argument("name", metavar="NAME", help="of the ControllableModel")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--adapter", metavar="NAME", help="one of spec.model.adapters to answer with")
    thinking = ask.add_mutually_exclusive_group()
    thinking.add_argument(
        "--effort", choices=("none", "minimal", "low", "medium", "high"), help="how much thinking it is worth"
    )
    thinking.add_argument(
        "--no-think", dest="effort", action="store_const", const="none", help="the same as --effort none"
    )
    ask.add_argument("--max-paths", type=int, metavar="N", help="at most so many paths")
    ask.add_argument("--max-tokens", type=int, metavar="N", help="at most so many tokens for all paths")
    ask.add_argument("--seed", type=int, metavar="N", help="the same seed, the same answer")

    events = add(
        "events",
        "events of a model and of all that it owns, by time",
        "  kubectl controllable events nano\n  kubectl controllable events nano -o json",
    )
    events.add_argument("name", metavar="NAME", help="of the ControllableModel")

    fleet = add(
        "fleet",
        "all models in a table, the broken ones first",
        "  kubectl controllable fleet -A\n"
        "  kubectl controllable fleet -l team=search --watch\n"
        "  kubectl controllable fleet -A -o json | jq .summary",
    )
    fleet.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    fleet.add_argument("-l", "--selector", default="", help="only models with these labels")
    _add_watch(fleet)

    gpus = add(
        "gpus",
        "which GPU is whose, and what connects them, in the whole cluster",
        "  kubectl controllable gpus\n"
        "  kubectl controllable gpus -o html > gpus.html    a page that opens from a disk\n"
        "  kubectl controllable gpus -o json | jq .summary\n\n"
        "rights: list nodes, pods, controllablemodels, and of resource.k8s.io resourceslices, resourceclaims",
        more=("html", "svg"),
    )
    _add_watch(gpus)

    add(
        "capabilities",
        "what the cluster offers to models: autoscalers, monitoring, gateways, GPUs",
        "  kubectl controllable capabilities\n  kubectl controllable capabilities -o json",
    )
    nodes = add(
        "multi-node",
        "print what would place replicas over the nodes of an NVLink clique; nothing is applied",
        "  image=registry.example/controllable-runtime:0.1.0\n"
        "  kubectl controllable multi-node big --runtime-image $image\n"
        "  kubectl controllable multi-node big --runtime-image $image | kubectl apply --dry-run=server -f -",
        first="yaml",
    )
    nodes.add_argument("name", metavar="NAME", help="of the ControllableModel")
    nodes.add_argument("--runtime-image", default="", metavar="IMAGE", help="of a model that names none")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode is no reason to fail
    options = parser().parse_args(arguments)
    if getattr(options, "watch", False) and options.output != "table":
        parser().error("--watch shows a table; for machines: kubectl get cmodel --watch -o json")
    try:
        options.run(options)
    except PluginError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # As with `… | head`: nobody reads on. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def where() -> argparse.ArgumentParser:
    """The options that all commands share: which cluster, which namespace."""
    result = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    result.add_argument("-n", "--namespace", help="default: that of the kubeconfig's context")
    result.add_argument("--context", help="of the kubeconfig")
    result.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, or ~/.kube/config")
    return result


def _add_watch(command: argparse.ArgumentParser) -> None:
    command.add_argument("-w", "--watch", action="store_true", help="look again every two seconds")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 600:
        raise argparse.ArgumentTypeError("must be more than 0, and at most 600")
    return value
