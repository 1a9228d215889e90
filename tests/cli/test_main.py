"""The frame around all commands: finding one, refusing, exit codes, and starting quickly."""

import subprocess
import sys

import pytest

from mooring.cli.main import COMMANDS, run


def test_help_names_every_command_and_loads_none_of_them() -> None:
    code = "import sys; from mooring.cli.main import run; run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for group in COMMANDS.values():
        for name, summary in group.items():
            assert f"  {name:<13}{summary}" in done.stdout
    assert {"typer", "rich", "aiohttp", "asyncio", "mooring.cli.up"}.isdisjoint(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        ("get pods --data-dir /nowhere", {"asyncio", "aiohttp", "structlog", "rich"}),
        ("exec --data-dir /nowhere --outside -- true", {"asyncio", "aiohttp", "structlog", "rich"}),
        ("node --help", {"mooring.app.roles.controllers", "rich"}),
    ],
)
def test_a_command_loads_what_it_needs(words: str, spared: set[str]) -> None:
    code = (
        f"import atexit, sys; sys.argv = ['mooring', *{words.split()!r}]\n"
        "atexit.register(lambda: print(*(name for name, module in sys.modules.items() if module), file=sys.stderr))\n"
        "from mooring.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    loaded = set(done.stderr.split())
    assert ("mooring.cli.main" in loaded, loaded & spared) == (True, set())


@pytest.mark.parametrize("name", [name for group in COMMANDS.values() for name in group])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert f"Usage: mooring {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "first_line"),
    [
        (["upp"], "mooring: unknown command 'upp'; the nearest known is 'up'"),
        (["get"], "mooring: Missing argument 'what'."),
        (["get", "pods", "--frob"], "mooring: No such option: --frob"),
        (["exec"], "mooring: say what to run: mooring exec POD -- COMMAND"),
        (["exec", "--node", "a", "--outside", "--", "true"], "mooring: --node or --outside, not both"),
        (["apiserver", "--listen", "nowhere"], "mooring: --listen 'nowhere': HOST:PORT is expected"),
        (
            ["controllers", "--service-cidr", "10.96.0.1/16"],
            "mooring: --service-cidr '10.96.0.1/16': 10.96.0.1/16 has host bits set",
        ),
        (
            ["node", "--name", "a", "--address", "x"],
            "mooring: --address 'x': 'x' does not appear to be an IPv4 or IPv6 address",
        ),
        (["up", "--nodes", "0"], "mooring: nodes 0: from 1 to 200"),
    ],
)
def test_wrong_usage_is_one_line_first_and_exit_code_2(
    arguments: list[str], first_line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.split("\n")[0] == first_line


@pytest.mark.parametrize("command", [["get", "pods"], ["logs", "x"], ["exec", "--outside", "--", "true"], ["describe", "pods"]])
def test_without_a_cluster_a_command_says_where_it_looked(
    command: list[str], tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command
    assert run([name, "--data-dir", f"{tmp_path}/none", *rest]) == 1
    assert f"{tmp_path}/none" in capsys.readouterr().err.split("\n")[0]


def test_an_unreachable_server_is_one_line(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    with open(f"{tmp_path}/kubeconfig", "w") as file:
        file.write(
            "current-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
            "contexts: [{name: c, context: {cluster: c}}]\n"
        )
    assert run(["get", "pods", "--data-dir", f"{tmp_path}"]) == 1
    assert capsys.readouterr().err == "mooring: cannot reach http://127.0.0.1:1: Connection refused\n"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mooring 0.")
