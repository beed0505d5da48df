"""Which kinds the API server serves, from its discovery documents. Pure but for `served`."""

from dataclasses import dataclass, replace
from typing import Any

from controllable_operator.kinds import Kind
from controllable_operator.plugin.connection import Connection

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True)
class Served:
    """One kind, in the version that the server prefers."""

    kind: Kind
    namespaced: bool
    verbs: frozenset[str]
    versions: frozenset[str]  # all that the server has it in


def served(connection: Connection) -> list[Served]:
    """All kinds, of the server itself, of definitions, and of servers that extend it."""
    roots = ("/api", "/apis")
    return [kind for root in roots for kind in parse(connection.get(root, _DISCOVERY))]


def parse(document: dict[str, Any]) -> list[Served]:
    """The kinds that an APIGroupDiscoveryList tells of, each once."""
    found: dict[tuple[str, str], Served] = {}
    for group in document.get("items", []):
        name = group.get("metadata", {}).get("name", "")
        for version in group.get("versions", []):
            api_version = f"{name}/{version['version']}" if name else version["version"]
            for resource in version.get("resources", []):
                kind = resource.get("responseKind", {}).get("kind", "")
                this = Served(
                    Kind(api_version, kind, resource["resource"]),
                    resource.get("scope") == "Namespaced",
                    frozenset(resource.get("verbs", [])),
                    frozenset({version["version"]}),
                )
                first = found.setdefault((name, resource["resource"]), this)
                found[name, resource["resource"]] = replace(first, versions=first.versions | this.versions)
    return list(found.values())
