"""Several versions of one kind: renamed, or converted by a webhook, which here is a function."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from custom_definitions import GROUP, Defined, definition, object_of, version
from direct import ADMIN, Refused

from mooring.apiserver.contract import Answer, Ask, Env, Question, Request, Response, Watch, Write
from mooring.apiserver.handle import handle
from mooring.apiserver.webhook_client import Unreachable, question
from mooring.edges.http.draws import Draws
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.store.records import Conflict

Document = dict[str, Any]
BY_WEBHOOK = {
    "strategy": "Webhook",
    "webhook": {"clientConfig": {"url": "https://127.0.0.1:9/convert"}, "conversionReviewVersions": ["v1"]},
}


def test_without_a_webhook_only_the_api_version_differs():
    server = Defined(definition(version("v1"), version("v2", storage=False)))
    server.make({"a": 1}, version="v2")
    assert ["v1", "v2"] == [server.read(version=name)["apiVersion"].partition("/")[2] for name in ("v1", "v2")]
    assert {"a": 1} == server.read(version="v1")["spec"]
    (listed,) = server.send("GET", server.path(version="v2"))["items"]
    assert f"{GROUP}/v2" == listed["apiVersion"]


def test_records_of_an_old_storage_version_are_read_and_move_when_they_are_written():
    server = Defined(definition(version("v1"), version("v2", storage=False)))
    server.make({"a": 1})
    server.redefine(definition(version("v1", storage=False), version("v2")))
    assert ("v1", f"{GROUP}/v1") == (stored(server), server.read()["apiVersion"])
    held = server.read()
    server.send("PUT", server.path("one"), held)
    assert "v2" == stored(server)


def test_a_version_shows_only_the_fields_that_it_has():
    text = {"type": "string"}
    old, new = object_of(a=dict(text), b=dict(text)), object_of(a=dict(text), c=text | {"default": "x"})
    server = Defined(definition(version("v1", old), version("v2", new, storage=False)))
    server.make({"a": "1", "b": "2"})
    assert [{"a": "1", "b": "2"}, {"a": "1", "c": "x"}] == [server.read(version=name)["spec"] for name in ("v1", "v2")]


def test_a_field_that_a_schema_has_lost_is_not_shown_any_more():
    text = {"type": "string"}
    server = Defined(definition(version(spec=object_of(a=dict(text), b=dict(text)))))
    server.make({"a": "1", "b": "2"})
    server.redefine(definition(version(spec=object_of(a=dict(text)))))
    assert {"a": "1"} == server.read()["spec"]
    assert [{"a": "1"}] == [each["spec"] for each in server.send("GET", server.path())["items"]]


def stored(server: Defined) -> str:
    (record,) = server.state.scan(f"/{GROUP}/crontabs/")
    return str(json.loads(record.value)["apiVersion"].partition("/")[2])


class Converted(Defined):
    """A server whose questions `convert` answers: (object, desired version) -> object."""

    def __init__(self, convert: Callable[[Document, str], Any], **answer: Any) -> None:
        self.convert, self.answer, self.asked = convert, answer, []
        super().__init__(definition(version("v1"), version("v2", storage=False), conversion=BY_WEBHOOK))

    def reply(self, asked: Question) -> Answer:
        review = json.loads(asked.body)
        request = review["request"]
        self.asked.append([each["metadata"]["name"] for each in request["objects"]])
        objects = [self.convert(each, request["desiredAPIVersion"]) for each in request["objects"]]
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects, **self.answer}
        return Answer(200, json.dumps({**review, "request": None, "response": response}).encode())

    def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str) -> Document:
        data = b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, tuple(query.items()), {"content-type": content_type}, data, ADMIN)
        for _ in range(10):
            outcome = self.decide(request)
            if isinstance(outcome, Write):
                (decided,) = self.state.decide((outcome.txn,))
                if isinstance(decided, Conflict):
                    continue
                self.state.publish((decided,))
                outcome = outcome.respond(decided)
            assert isinstance(outcome, Response)
            answer: Document = json.loads(outcome.body)
            if outcome.status >= 400:
                raise Refused({"code": outcome.status, **answer})
            return answer
        raise AssertionError("conflicts without end")

    def decide(self, request: Request) -> Any:
        """As the edge does: the same request again, with the same draws, until nothing is left to ask."""
        answers: dict[Question, Answer] = {}
        draws = Draws(Random(7))
        env = Env(self.env.now, draws, self.settings, answers=answers)
        for _ in range(5):
            outcome = handle(request, self.state, env)
            if not isinstance(outcome, Ask):
                return outcome
            answers.update({each: self.reply(each) for each in outcome.questions})
            draws.rewind()
        raise AssertionError("it asks without end")


def moved(document: Document, wanted: str) -> Document:
    """v2 has at .spec.host what v1 has at .spec.hostname."""
    ours, theirs = ("host", "hostname") if wanted.endswith("v1") else ("hostname", "host")
    spec = {theirs if name == ours else name: value for name, value in document["spec"].items()}
    return {**document, "apiVersion": wanted, "spec": spec}


def test_a_webhook_converts_on_the_way_in_and_out():
    server = Converted(moved)
    made = server.make({"host": "a"}, version="v2")
    assert (f"{GROUP}/v2", {"host": "a"}) == (made["apiVersion"], made["spec"])
    assert ({"hostname": "a"}, {"host": "a"}) == (server.read()["spec"], server.read(version="v2")["spec"])
    changed = server.send("PATCH", server.path("one", version="v2"), {"spec": {"host": "b"}}, "application/merge-patch+json")
    assert ({"host": "b"}, {"hostname": "b"}) == (changed["spec"], server.read()["spec"])


def test_a_list_is_converted_with_one_question():
    server = Converted(moved)
    for number in range(5):
        server.make({"hostname": str(number)}, name=f"n{number}")
    server.asked.clear()
    items = server.send("GET", server.path(version="v2"))["items"]
    assert [{"host": str(number)} for number in range(5)] == [each["spec"] for each in items]
    assert [[f"n{number}" for number in range(5)]] == server.asked


def test_a_watch_asks_for_what_it_shows_and_forgets_it():
    server = Converted(moved)
    server.make({"hostname": "a"})
    watch = server.decide(Request("GET", server.path(version="v2"), (("watch", "1"),), {}, b"", ADMIN))
    assert isinstance(watch, Watch)
    (first,) = watch.initial
    assert {"host": "a"} == json.loads(first)["object"]["spec"]
    at = server.state.revision
    server.make({"hostname": "b"}, name="two")
    (event,) = server.state.since(watch.prefix, at)
    from mooring.apiserver.contract import Unanswered

    with pytest.raises(Unanswered) as unknown:
        watch.encode(event)
    watch.answers.update({each: server.reply(each) for each in unknown.value.questions})
    assert {"host": "b"} == json.loads(watch.encode(event) or b"")["object"]["spec"]
    watch.answers.clear()
    with pytest.raises(Unanswered):
        watch.encode(event)


BAD = {
    "another version": (
        lambda d, v: d,
        {},
        "invalid groupVersion (expected stable.example.com/v2, received stable.example.com/v1)",
    ),
    "another kind": (lambda d, v: {**moved(d, v), "kind": "Other"}, {}, "invalid kind (expected CronTab, received Other)"),
    "another name": (
        lambda d, v: {**moved(d, v), "metadata": {**d["metadata"], "name": "b"}},
        {},
        "must have the same name: one != b",
    ),
    "no object": (lambda d, v: None, {}, "invalid metadata of type NoneType in converted object"),
    "a failure": (moved, {"result": {"status": "Failure", "message": "cannot"}}, "failed: cannot"),
    "too few": (moved, {"convertedObjects": []}, "webhook returned 0 objects, expected 1"),
    "another question's answer": (moved, {"uid": "x"}, 'got "x"'),
    "a result of another form": (moved, {"result": ["Success"]}, "is no ConversionReview"),
    "objects of another form": (moved, {"convertedObjects": 1}, "is no ConversionReview"),
    "labels of another form": (
        lambda d, v: {**moved(d, v), "metadata": {**d["metadata"], "labels": {"a": 1}}},
        {},
        "invalid metadata.labels in converted object",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_webhook_may_not_answer_with(case):
    convert, answer, why = BAD[case]
    server = Converted(convert, **answer)
    server.make({"hostname": "a"})
    with pytest.raises(Refused) as refusal:
        server.read(version="v2")
    assert refusal.value.message.startswith("conversion webhook for stable.example.com/v1, Kind=CronTab failed: ")
    assert why in refusal.value.message


def test_of_metadata_a_webhook_changes_labels_and_annotations_only():
    def relabel(document: Document, wanted: str) -> Document:
        metadata = {**document["metadata"], "labels": {"by": "webhook"}, "finalizers": ["example.com/x"], "generation": 99}
        return {**moved(document, wanted), "metadata": metadata}

    server = Converted(relabel)
    server.make({"hostname": "a"})
    shown = server.read(version="v2")["metadata"]
    assert ({"by": "webhook"}, None, 1) == (shown["labels"], shown.get("finalizers"), shown["generation"])


# Where webhooks are -----------------------------------------------------------------------------------------------------


def test_a_service_leads_to_a_ready_endpoint():
    server = Defined()
    ports = [{"name": "https", "port": 443, "targetPort": "tls"}, {"name": "other", "port": 80}]
    server.create(SERVICE, {"metadata": {"name": "hook"}, "spec": {"ports": ports, "selector": {"a": "b"}}})
    ready = [
        {"addresses": ["10.244.0.7"], "conditions": {"ready": True}},
        {"addresses": ["10.244.0.8"], "conditions": {"ready": False}},
    ]
    labels = {"kubernetes.io/service-name": "hook"}
    slice_ = {
        "addressType": "IPv4",
        "endpoints": ready,
        "ports": [{"name": "https", "port": 8443}, {"name": "other", "port": 8080}],
    }
    config = {"service": {"name": "hook", "namespace": "default", "path": "/convert"}, "caBundle": "Y2E="}
    with pytest.raises(Unreachable, match='no endpoints available for service "hook"'):
        question(config, b"x", 1.0, server.state)
    server.create(ENDPOINT_SLICE, {"metadata": {"name": "hook-1", "labels": labels}, **slice_})
    asked = question(config, b"x", 1.0, server.state)
    wanted = ("https://hook.default.svc:443/convert", ("10.244.0.7", 8443), "hook.default.svc", b"ca")
    assert wanted == (asked.url, asked.address, asked.server_name, asked.ca)
    with pytest.raises(Unreachable, match='no service port 444 found for service "hook"'):
        question({"service": {**config["service"], "port": 444}}, b"x", 1.0, server.state)
    with pytest.raises(Unreachable, match='service "none" not found'):
        question({"service": {"name": "none", "namespace": "default"}}, b"x", 1.0, server.state)


def test_a_url_leads_to_its_host():
    server = Defined()
    asked = question({"url": "https://example.com/a?b=c"}, b"x", 1.0, server.state)
    assert (("example.com", 443), "example.com") == (asked.address, asked.server_name)
    for url in ("http://example.com", "https://", "https://a:b"):
        with pytest.raises(Unreachable):
            question({"url": url}, b"x", 1.0, server.state)
