"""The local cluster is a real one. Run with `python -m dev.cluster enter -- python -m pytest -m cluster`."""

import json
import os
import subprocess
import uuid

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster"),
]
IMAGE = "localhost/busybox:1"


def kubectl(*arguments, stdin=None, check=True):
    done = subprocess.run(["kubectl", *arguments], input=stdin, text=True, capture_output=True, timeout=90)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout if check else done


def restricted_pod(name, labels, command, port=None):
    """A pod as strict as the Pod Security Standard `restricted` asks for."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", command],
        "resources": {"limits": {"memory": "32Mi", "cpu": "200m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if port:
        container["ports"] = [{"name": "http", "containerPort": port}]
        container["readinessProbe"] = {"tcpSocket": {"port": "http"}, "periodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "containers": [container],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": 0,
        },
    }


@pytest.fixture(scope="module")
def namespace():
    """A namespace that enforces `restricted`, with a web server behind a Service and two clients."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    apply(
        name,
        restricted_pod(
            "web", {"app": "web"}, "httpd -f -p 8080 -h /etc & exec httpd -f -p 9090 -h /etc", port=8080
        ),
        restricted_pod("friend", {"role": "friend"}, "exec sleep 600"),
        restricted_pod("stranger", {"role": "stranger"}, "exec sleep 600"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service},
    )
    kubectl("-n", name, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def apply(namespace, *objects):
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    target = ["-n", namespace] if namespace else []
    kubectl(*target, "apply", "-f", "-", stdin=document)


def fetch(namespace, client, url):
    """Whether a pod gets an answer from `url`."""
    return kubectl("-n", namespace, "exec", client, "--", "wget", "-qO-", url, check=False).returncode == 0


def eventually(namespace, expected, url="http://web/passwd", limit=40):
    """Policies reach the node a moment after they are written."""
    for _ in range(limit):
        seen = {client: fetch(namespace, client, url) for client in expected}
        if seen == expected:
            return
    assert seen == expected


def test_a_restricted_pod_runs_behind_a_seccomp_filter(namespace):
    status = kubectl("-n", namespace, "exec", "friend", "--", "grep", "Seccomp:", "/proc/1/status")
    assert status.split() == ["Seccomp:", "2"]


def test_memory_limits_are_real(namespace):
    limit = kubectl(
        "-n",
        namespace,
        "exec",
        "friend",
        "--",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
    )
    assert int(limit) == 32 << 20


def test_a_service_is_found_by_name_and_leads_to_its_pod(namespace):
    for url in ("http://web/passwd", f"http://web.{namespace}.svc.cluster.local/passwd"):
        assert fetch(namespace, "friend", url)


def test_a_pod_reaches_itself_through_its_service(namespace):
    # by its full name: the short one is the pod's own host name
    assert fetch(namespace, "web", f"http://web.{namespace}.svc.cluster.local/passwd")


def test_a_name_outside_of_the_cluster_fails_at_once(namespace):
    done = kubectl("-n", namespace, "exec", "friend", "--", "nslookup", "example.org", check=False)
    assert "NXDOMAIN" in done.stdout + done.stderr


def policy(**spec):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "web"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, **spec},
    }


FROM_FRIEND = [{"podSelector": {"matchLabels": {"role": "friend"}}}]


class TestNetworkPolicy:
    @pytest.fixture(autouse=True)
    def no_policy_stays(self, namespace):
        yield
        kubectl("-n", namespace, "delete", "networkpolicy", "--all")
        eventually(namespace, {"friend": True, "stranger": True})

    def test_it_admits_whom_it_names_and_blocks_the_rest(self, namespace):
        apply(namespace, policy(ingress=[{"from": FROM_FRIEND}]))
        eventually(namespace, {"friend": True, "stranger": False})

    def test_a_named_port_opens_that_port_alone(self, namespace):
        apply(namespace, policy(ingress=[{"from": FROM_FRIEND, "ports": [{"port": "http"}]}]))
        eventually(namespace, {"friend": True, "stranger": False})
        address = kubectl("-n", namespace, "get", "pod", "web", "-o", "jsonpath={.status.podIP}")
        assert not fetch(namespace, "friend", f"http://{address}:9090/passwd")

    def test_a_name_that_no_port_has_opens_nothing(self, namespace):
        apply(namespace, policy(ingress=[{"ports": [{"port": "no-such-port"}]}]))
        eventually(namespace, {"friend": False, "stranger": False})

    def test_probes_of_the_node_pass_whatever_the_policy(self, namespace):
        apply(namespace, policy(policyTypes=["Ingress"]))
        eventually(namespace, {"friend": False})
        kubectl("-n", namespace, "wait", "pod/web", "--for=condition=Ready", "--timeout=5s")

    def test_egress_is_held_to_dns_and_what_else_is_named(self, namespace):
        dns = {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }
            ],
            "ports": [{"port": 53, "protocol": "UDP"}],
        }
        web = {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "http"}]}
        restricted = policy(policyTypes=["Egress"], egress=[dns, web])
        restricted["spec"]["podSelector"] = {"matchLabels": {"role": "stranger"}}
        apply(namespace, restricted)
        address = kubectl("-n", namespace, "get", "pod", "web", "-o", "jsonpath={.status.podIP}")
        eventually(namespace, {"stranger": False, "friend": True}, url=f"http://{address}:9090/passwd")
        assert fetch(namespace, "stranger", "http://web/passwd")
