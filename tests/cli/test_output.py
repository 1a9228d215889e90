"""Tables as kubectl prints them, manifests as people write them, progress as logs and terminals want it."""

import io
from pathlib import Path

import pytest

from mooring.app.progress import Step
from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.cli.manifests import read
from mooring.cli.progress import Progress

TABLE = {
    "columnDefinitions": [{"name": "Name"}, {"name": "Ready"}, {"name": "Node", "priority": 1}],
    "rows": [
        {"cells": ["a", "1/1", "node-1"], "object": {"metadata": {"namespace": "default"}}},
        {"cells": ["longer", None, "node-2"], "object": {"metadata": {"namespace": "kube-system"}}},
    ],
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "NAME     READY\na        1/1\nlonger   <none>"),
        ({"wide": True}, "NAME     READY    NODE\na        1/1      node-1\nlonger   <none>   node-2"),
        ({"namespaces": True}, "NAMESPACE     NAME     READY\ndefault       a        1/1\nkube-system   longer   <none>"),
        ({"prefix": "pod/"}, "NAME         READY\npod/a        1/1\npod/longer   <none>"),
        ({"header": False}, "a        1/1\nlonger   <none>"),
    ],
    ids=["narrow", "wide", "with namespaces", "with the kind", "without a header"],
)
def test_tables(options: dict[str, object], expected: str) -> None:
    assert output.table(TABLE, **({"wide": False, "namespaces": False} | options)) == expected


def test_documents(capsys: pytest.CaptureFixture[str]) -> None:
    output.document({"b": 1, "a": ["é"]}, "json")
    output.document({"b": 1, "a": ["é"]}, "yaml")
    output.document({"b": 1, "a": ["é"]}, "jsonpath={.a[0]}")
    assert capsys.readouterr().out == '{\n    "b": 1,\n    "a": [\n        "é"\n    ]\n}\na:\n- é\nb: 1\né\n'
    with pytest.raises(CommandError, match="unknown output 'xml'"):
        output.document({}, "xml")


def test_a_directory_is_read_in_order_and_lists_are_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.yaml").write_text("kind: B\n---\n---\nkind: C\n")
    (tmp_path / "a.json").write_text('{"kind": "List", "items": [{"kind": "A1"}, {"kind": "A2"}]}')
    (tmp_path / "notes.txt").write_text("not a manifest")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.yml").write_text("kind: D")
    monkeypatch.setattr("sys.stdin", io.StringIO("kind: E"))
    kinds = [document["kind"] for document in read([str(tmp_path), "-"])]
    assert kinds == ["A1", "A2", "B", "C", "E"]
    assert [document["kind"] for document in read([str(tmp_path)], recursive=True)] == ["A1", "A2", "B", "C", "D"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "is not YAML"),
        ("- a\n- b", "an object is expected, not list"),
        ("just words", "an object is expected, not str"),
    ],
)
def test_what_is_no_manifest_names_its_file(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(CommandError, match=rf"{file}.*{expected}"):
        read([str(file)])


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.yaml: No such file or directory"):
        read([f"{tmp_path}/missing.yaml"])


def test_progress_in_a_log_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for step in (Step("waiting", "x"), Step("note", "y died"), Step("done", "x", 1.25), Step("ready", "all is well")):
        progress.show(step)
    assert capsys.readouterr().err == "waiting for x\n! y died\n✓ x (1.2 s)\nall is well\n"
