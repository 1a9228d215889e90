"""Does kubectl understand the API from its own description: explain, validation before sending, apply?"""

import re

import pytest
from kubectl_command import Kubectl

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: explained}
spec:
  replicas: 0
  selector: {matchLabels: {app: explained}}
  template:
    metadata: {labels: {app: explained}}
    spec:
      containers: [{name: c, image: echo%s}]
"""


@pytest.mark.parametrize(("words", "told"), [
    (
        "deployment.spec.template.spec.containers --recursive",
        r"volumeMounts\s+<\[\]VolumeMount>\n(.*\n)*?\s+mountPath\s+<string> -required-",
    ),
    ("sts", r"GROUP:\s+apps\nKIND:\s+StatefulSet\nVERSION:\s+v1\n(.*\n)*\s+spec\s+<StatefulSetSpec>"),
    ("job.spec.podFailurePolicy", r"rules\s+<\[\]PodFailurePolicyRule> -required-"),
    ("pdb.spec.maxUnavailable", r"<IntOrString>"),
])  # fmt: skip
def test_every_field_is_explained(stock: Kubectl, words: str, told: str) -> None:
    assert re.search(told, stock("explain", *words.split()))


def test_an_unknown_field_is_refused_strictly(stock: Kubectl) -> None:
    bad = DEPLOYMENT % ", imagePolicy: Never"
    refused = stock.refused("create", "--validate=strict", "-f", "-", stdin=bad)
    assert 'strict decoding error: unknown field "spec.template.spec.containers[0].imagePolicy"' in refused
    assert 'unknown field "spec.template.spec.containers[0].imagePolicy"' in stock.refused("apply", "-f", "-", stdin=bad)


def test_applying_an_unknown_field_warns_when_it_may(stock: Kubectl) -> None:
    stock("apply", "-f", "-", stdin=DEPLOYMENT % "")
    done = stock.run("apply", "--validate=warn", "-f", "-", stdin=DEPLOYMENT % ", imagePolicy: Never")
    assert 'Warning: unknown field "spec.template.spec.containers[0].imagePolicy"' in done.stderr
    assert "deployment.apps/explained" in done.stdout
