"""`helm test`: the operator answers, and the API server takes a ControllableModel (nothing is created)."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MODEL = {
    "apiVersion": "serving.controllable.dev/v1alpha1",
    "kind": "ControllableModel",
    "metadata": {"generateName": "helm-test-"},
    "spec": {"model": {"uri": "image:///models/nano"}, "serving": {"image": os.environ["RUNTIME_IMAGE"]}},
}


def the_operator_answers() -> None:
    with urllib.request.urlopen(os.environ["HEALTH_URL"], timeout=10) as answer:
        print(f"the operator answers: {answer.read().decode()[:200]}")


def a_model_is_accepted() -> None:
    namespace = (ACCOUNT / "namespace").read_text()
    url = (
        f"https://kubernetes.default.svc/apis/serving.controllable.dev/v1alpha1/namespaces/{namespace}"
        "/controllablemodels?dryRun=All&fieldValidation=Strict"
    )
    headers = {
        "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(url, json.dumps(MODEL).encode(), headers)
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    try:
        urllib.request.urlopen(request, timeout=30, context=trust).close()
    except urllib.error.HTTPError as error:
        message = json.loads(error.read()).get("message", error.reason)
        if error.code == 404:
            message = "the cluster does not know ControllableModel: helm install controllable-crds"
        sys.exit(f"a ControllableModel is refused: {message}")
    print("the API server takes a ControllableModel")


the_operator_answers()
a_model_is_accepted()
