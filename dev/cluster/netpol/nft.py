"""From rules to an nftables ruleset. Pure."""

from __future__ import annotations

from dev.cluster.netpol.rules import Allow, Direction, Rules
from dev.cluster.network import NODE_IP

TABLE = "inet network-policy"


def ruleset(rules: Rules) -> str:
    """A script for `nft -f` that replaces the whole table at once."""
    chains = [_chain(direction, address, allowed) for (direction, address), allowed in sorted(rules.items())]
    # forward: what passes between pods; input: what pods send to the node itself
    return "\n".join(
        [
            f"table {TABLE} {{ }}",
            f"delete table {TABLE}",
            f"table {TABLE} {{",
            *chains,
            _hook("forward", rules, ("egress", "ingress")),
            _hook("input", rules, ("egress",)),
            "}\n",
        ]
    )


def _hook(hook: str, rules: Rules, directions: tuple[Direction, ...]) -> str:
    lines = [
        f"  chain {hook} {{",
        f"    type filter hook {hook} priority filter; policy accept;",
        "    ct state established,related accept",
        f"    ip saddr {NODE_IP} accept",
    ]
    for direction in directions:
        restricted = sorted(address for d, address in rules if d == direction)
        if restricted:
            end = "saddr" if direction == "egress" else "daddr"
            jumps = ", ".join(f"{address} : jump {_name(direction, address)}" for address in restricted)
            lines.append(f"    ip {end} vmap {{ {jumps} }}")
    return "\n".join([*lines, "  }"])


def _chain(direction: Direction, address: str, allowed: set[Allow]) -> str:
    lines = sorted(
        f"    {_match(direction, allow)} return".replace("  return", " return") for allow in allowed
    )
    # an answer at once instead of silence: a test of a closed door need not wait for a time-out
    return "\n".join(
        [f"  chain {_name(direction, address)} {{", *lines, "    reject with icmpx admin-prohibited", "  }"]
    )


def _match(direction: Direction, allow: Allow) -> str:
    parts = []
    if allow.peer:
        end = "saddr" if direction == "ingress" else "daddr"
        parts.append(f"ip {end} {allow.peer.cidr}")
        if allow.peer.excluded:
            parts.append(f"ip {end} != {{ {', '.join(allow.peer.excluded)} }}")
    if allow.ports:
        protocol = allow.ports.protocol.lower()
        if allow.ports.first == 0:
            parts.append(f"meta l4proto {protocol}")
        elif allow.ports.first == allow.ports.last:
            parts.append(f"{protocol} dport {allow.ports.first}")
        else:
            parts.append(f"{protocol} dport {allow.ports.first}-{allow.ports.last}")
    return " ".join(parts)


def _name(direction: Direction, address: str) -> str:
    return f"{direction}-{address.replace('.', '-')}"
