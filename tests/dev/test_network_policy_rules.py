"""NetworkPolicy as rules: who may reach whom, and that nothing opens by mistake."""

import pytest

from dev.cluster.netpol.nft import ruleset
from dev.cluster.netpol.rules import Allow, Peer, Ports, compile_policies, matches


def pod(name, ip, labels=None, namespace="default", ports=(), **spec):
    containers = [{"name": "main", "ports": list(ports)}]
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": containers, **spec},
        "status": {"podIP": ip, "phase": "Running"},
    }


def namespace(name, labels=None):
    return {"metadata": {"name": name, "labels": labels or {}}}


def policy(spec, in_namespace="default"):
    return {"metadata": {"namespace": in_namespace}, "spec": spec}


HTTP = {"name": "http", "containerPort": 8080, "protocol": "TCP"}
WEB = pod("web", "10.244.0.10", {"app": "web"}, ports=[HTTP])
FRIEND = pod("friend", "10.244.0.11", {"role": "friend"})
STRANGER = pod("stranger", "10.244.0.12", {"role": "stranger"})
ELSEWHERE = pod("elsewhere", "10.244.0.13", {"role": "friend"}, namespace="other")
PODS = [WEB, FRIEND, STRANGER, ELSEWHERE]
NAMESPACES = [namespace("default"), namespace("other", {"team": "other"})]
TO_WEB = ("ingress", "10.244.0.10")
FROM_FRIEND = ("egress", "10.244.0.11")


def ingress(*rules):
    return policy(
        {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": [*rules]}
    )


def egress(*rules):
    return policy(
        {"podSelector": {"matchLabels": {"role": "friend"}}, "policyTypes": ["Egress"], "egress": [*rules]}
    )


def compiled(*policies, pods=PODS):
    return compile_policies(pods, NAMESPACES, policies)


def test_a_pod_that_no_policy_selects_is_free():
    assert compiled(ingress()).keys() == {TO_WEB}


def test_a_policy_without_rules_admits_nobody():
    assert compiled(ingress())[TO_WEB] == set()


def test_an_empty_rule_admits_everybody():
    assert compiled(ingress({}))[TO_WEB] == {Allow(None, None)}


def test_an_empty_pod_selector_selects_every_pod_of_the_namespace_and_none_of_another():
    rules = compiled(policy({"podSelector": {}, "policyTypes": ["Ingress"]}))
    assert {address for _, address in rules} == {"10.244.0.10", "10.244.0.11", "10.244.0.12"}


def test_the_policies_that_select_a_pod_add_up():
    rules = compiled(ingress({"ports": [{"port": 1}]}), ingress({"ports": [{"port": 2}]}))
    assert rules[TO_WEB] == {Allow(None, Ports("TCP", 1, 1)), Allow(None, Ports("TCP", 2, 2))}


def test_a_pod_selector_admits_the_matching_pods_of_the_policys_own_namespace_only():
    rule = {"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}
    assert compiled(ingress(rule))[TO_WEB] == {Allow(Peer("10.244.0.11"), None)}


def test_a_namespace_selector_admits_all_pods_of_the_matching_namespaces():
    rule = {"from": [{"namespaceSelector": {"matchLabels": {"team": "other"}}}]}
    assert compiled(ingress(rule))[TO_WEB] == {Allow(Peer("10.244.0.13"), None)}


def test_both_selectors_in_one_entry_must_match_both():
    rule = {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "stranger"}}}]}
    assert compiled(ingress(rule))[TO_WEB] == {Allow(Peer("10.244.0.12"), None)}


def test_a_selector_that_matches_no_pod_admits_nobody():
    rule = {"from": [{"podSelector": {"matchLabels": {"role": "nobody"}}}]}
    assert compiled(ingress(rule))[TO_WEB] == set()


def test_an_address_block_keeps_its_exceptions():
    rule = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}
    assert compiled(ingress(rule))[TO_WEB] == {Allow(Peer("10.0.0.0/8", ("10.1.0.0/16",)), None)}


def test_an_ipv6_block_admits_nobody_here():
    assert compiled(ingress({"from": [{"ipBlock": {"cidr": "::/0"}}]}))[TO_WEB] == set()


@pytest.mark.parametrize(
    ("port", "ports"),
    [
        ({"port": 80}, Ports("TCP", 80, 80)),
        ({"port": 80, "endPort": 90}, Ports("TCP", 80, 90)),
        ({"port": 53, "protocol": "UDP"}, Ports("UDP", 53, 53)),
        ({"protocol": "SCTP"}, Ports("SCTP")),
    ],
)
def test_ports_are_numbers_ranges_or_whole_protocols(port, ports):
    assert compiled(ingress({"ports": [port]}))[TO_WEB] == {Allow(None, ports)}


class TestNamedPorts:
    """A name that cannot be looked up must admit nothing. Taken for `any port` it would open the pod."""

    def test_into_a_pod_the_name_is_what_that_pod_calls_so(self):
        assert compiled(ingress({"ports": [{"port": "http"}]}))[TO_WEB] == {
            Allow(None, Ports("TCP", 8080, 8080))
        }

    def test_a_name_that_the_pod_does_not_know_admits_nothing(self):
        assert compiled(ingress({"ports": [{"port": "metrics"}]}))[TO_WEB] == set()

    def test_a_known_name_beside_an_unknown_one_admits_only_the_known(self):
        rule = {"ports": [{"port": "metrics"}, {"port": "http"}]}
        assert compiled(ingress(rule))[TO_WEB] == {Allow(None, Ports("TCP", 8080, 8080))}

    def test_the_protocol_belongs_to_the_name(self):
        assert compiled(ingress({"ports": [{"port": "http", "protocol": "UDP"}]}))[TO_WEB] == set()

    def test_ports_of_sidecars_have_names_too_and_those_of_other_init_containers_do_not(self):
        sidecar = {
            "name": "s",
            "restartPolicy": "Always",
            "ports": [{"name": "admin", "containerPort": 9000}],
        }
        once = {"name": "o", "ports": [{"name": "setup", "containerPort": 9001}]}
        web = pod("web", "10.244.0.10", {"app": "web"}, initContainers=[sidecar, once])
        rules = compiled(ingress({"ports": [{"port": "admin"}, {"port": "setup"}]}), pods=[web])
        assert rules[TO_WEB] == {Allow(None, Ports("TCP", 9000, 9000))}

    def test_out_of_a_pod_the_name_is_what_the_peer_calls_so(self):
        rule = {"to": [{"podSelector": {}}], "ports": [{"port": "http"}]}
        assert compiled(egress(rule))[FROM_FRIEND] == {Allow(Peer("10.244.0.10"), Ports("TCP", 8080, 8080))}

    def test_to_anywhere_by_name_leads_to_the_pods_that_have_the_name_only(self):
        assert compiled(egress({"ports": [{"port": "http"}]}))[FROM_FRIEND] == {
            Allow(Peer("10.244.0.10"), Ports("TCP", 8080, 8080))
        }

    def test_an_address_block_knows_no_names(self):
        rule = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": "http"}]}
        assert compiled(egress(rule))[FROM_FRIEND] == set()


def test_a_policy_of_both_types_restricts_both_directions():
    rules = compiled(policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))
    assert {direction for direction, _ in rules} == {"ingress", "egress"}


@pytest.mark.parametrize(
    "gone",
    [
        {**WEB, "status": {"phase": "Pending"}},
        {**WEB, "status": {"podIP": "10.244.0.10", "phase": "Succeeded"}},
        {**WEB, "spec": {**WEB["spec"], "hostNetwork": True}},
    ],
    ids=["no address yet", "address given back", "the node's address"],
)
def test_pods_without_an_address_of_their_own_have_no_rules(gone):
    assert compiled(ingress(), pods=[gone]) == {}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ({"key": "app", "operator": "In", "values": ["web", "db"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["web"]}, False),
        ({"key": "role", "operator": "NotIn", "values": ["web"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "app", "operator": "SomethingNew"}, False),
    ],
)
def test_match_expressions_follow_the_api_and_an_unknown_operator_matches_nothing(expression, holds):
    assert matches({"matchExpressions": [expression]}, {"app": "web"}) is holds


def test_the_ruleset_rejects_what_no_rule_returns_from():
    script = ruleset({TO_WEB: {Allow(Peer("10.244.0.11"), Ports("TCP", 8080, 8080))}})
    chain = script[script.index("chain ingress-10-244-0-10") :]
    assert chain.split("}")[0].split("\n")[1:3] == [
        "    ip saddr 10.244.0.11 tcp dport 8080 return",
        "    reject with icmpx admin-prohibited",
    ]
    assert "ip daddr vmap { 10.244.0.10 : jump ingress-10-244-0-10 }" in script


def test_egress_is_enforced_towards_pods_and_towards_the_node():
    script = ruleset({FROM_FRIEND: set()})
    assert script.count("ip saddr vmap { 10.244.0.11 : jump egress-10-244-0-11 }") == 2
