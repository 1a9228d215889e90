"""What one rule allows, and which rules cover others."""

import pytest

from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.authorization.rules import Rule, allows, document, rule, uncovered
from mooring.apiserver.contract import User

ADA = User("ada")


def asked(verb: str = "get", resource: str = "pods", group: str = "", subresource: str = "", name: str = "", path: str = ""):
    return Attributes(ADA, verb, group, "v1", resource, subresource, "default", name, path)


ALLOWS = [
    ("the verb and the resource", Rule(("get",), ("",), ("pods",)), asked(), True),
    ("another verb", Rule(("list",), ("",), ("pods",)), asked(), False),
    ("every verb", Rule(("*",), ("",), ("pods",)), asked("deletecollection"), True),
    ("another group", Rule(("get",), ("apps",), ("pods",)), asked(), False),
    ("every group", Rule(("get",), ("*",), ("pods",)), asked(), True),
    ("a subresource is not its resource", Rule(("get",), ("",), ("pods",)), asked(subresource="log"), False),
    ("a resource is not its subresource", Rule(("get",), ("",), ("pods/log",)), asked(), False),
    ("the subresource", Rule(("get",), ("",), ("pods/log",)), asked(subresource="log"), True),
    ("the subresource of everything", Rule(("get",), ("",), ("*/log",)), asked(subresource="log"), True),
    ("every resource has its subresources with it", Rule(("get",), ("",), ("*",)), asked(subresource="log"), True),
    ("'pods/*' is no pattern", Rule(("get",), ("",), ("pods/*",)), asked(subresource="log"), False),
    ("the name", Rule(("get",), ("",), ("pods",), ("x",)), asked(name="x"), True),
    ("another name", Rule(("get",), ("",), ("pods",), ("x",)), asked(name="y"), False),
    ("no name at all", Rule(("list",), ("",), ("pods",), ("x",)), asked("list"), False),
    ("a rule of paths allows no resource", Rule(("get",), paths=("*",)), asked(), False),
    ("a path", Rule(("get",), paths=("/healthz",)), asked(resource="", path="/healthz"), True),
    ("below a path", Rule(("get",), paths=("/healthz",)), asked(resource="", path="/healthz/x"), False),
    ("below a path with a star", Rule(("get",), paths=("/healthz/*",)), asked(resource="", path="/healthz/x"), True),
    ("a path that begins alike", Rule(("get",), paths=("/api/*",)), asked(resource="", path="/apis/x"), False),
    ("a rule of resources allows no path", Rule(("*",), ("*",), ("*",)), asked(resource="", path="/metrics"), False),
]


@pytest.mark.parametrize(("given", "request_", "allowed"), [case[1:] for case in ALLOWS], ids=[case[0] for case in ALLOWS])
def test_a_rule_allows(given, request_, allowed):
    assert allowed == allows(given, request_)


COVERS = [
    ("itself", Rule(("get",), ("",), ("pods",)), [Rule(("get",), ("",), ("pods",))], 0),
    ("several together", Rule(("get", "list"), ("",), ("pods",)),
     [Rule(("get",), ("",), ("pods",)), Rule(("list",), ("",), ("pods",))], 0),
    ("everything", Rule(("get",), ("apps",), ("x/y",)), [Rule(("*",), ("*",), ("*",))], 0),
    ("a star is covered by a star only", Rule(("*",), ("",), ("pods",)), [Rule(("get", "list"), ("",), ("pods",))], 1),
    ("all names by no list of names", Rule(("get",), ("",), ("pods",)), [Rule(("get",), ("",), ("pods",), ("x",))], 1),
    ("a name by all names", Rule(("get",), ("",), ("pods",), ("x",)), [Rule(("get",), ("",), ("pods",))], 0),
    ("one name of two", Rule(("get",), ("",), ("pods",), ("x", "y")), [Rule(("get",), ("",), ("pods",), ("x",))], 1),
    ("a subresource of all", Rule(("get",), ("",), ("pods/log",)), [Rule(("get",), ("",), ("*/log",))], 0),
    ("paths", Rule(("get",), paths=("/a/b",)), [Rule(("get",), paths=("/a/*",))], 0),
    ("more than the pattern", Rule(("get",), paths=("/*",)), [Rule(("get",), paths=("/a/*",))], 1),
    ("each single thing", Rule(("get", "list"), ("", "apps"), ("pods", "secrets")), [], 8),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "held", "missing"), [case[1:] for case in COVERS], ids=[case[0] for case in COVERS])
def test_rules_cover(wanted, held, missing):
    assert missing == len(uncovered([wanted], held))


def test_a_rule_is_told_as_upstream_tells_it():
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' == str(Rule(("get",), ("",), ("secrets",)))


def test_a_rule_is_its_document():
    given = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}
    assert given == document(rule(given))
