"""Which command was meant? Finds it, loads only its file, runs it, and turns failures into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage. `exec` passes on the code of what it ran. `mooring --help` loads no command at all.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import mooring

COMMANDS: dict[str, dict[str, str]] = {
    "The local cluster": {
        "up": "Start a cluster on this machine and wait until it is ready",
        "down": "Stop it and leave nothing running",
        "status": "What runs, where, and how it is",
        "doctor": "Can this machine run a cluster, and what is missing?",
        "images": "The images that pods can name",
        "certs": "Show, renew or rotate its certificates, while it runs",
    },
    "Objects": {
        "get": "Show objects",
        "describe": "Show one object with what belongs to it and its events",
        "explain": "What a Service or an Ingress is, who reaches what, what is wrong",
        "apply": "Create or change objects as manifests say",
        "plan": "What manifests would change and cut off, before they are applied",
        "convert": "What becomes of Ingresses for ingress-nginx here, and as Gateway API",
        "delete": "Delete objects",
        "logs": "Show what a container wrote",
        "exec": "Run a command in a pod, on a node, or outside",
        "trace": "What becomes of a packet, a name or a request, and why",
        "verify": "Is every node's kernel as the API wishes, and what is not?",
    },
    "Measuring": {
        "bench": "Run a benchmark",
    },
    "Roles (what `up` starts; each also runs by itself)": {
        "apiserver": "Serve the Kubernetes API",
        "controllers": "Run the controllers and the scheduler",
        "node": "Run pods, the dataplane and DNS of one node",
        "gateway": "Serve the Ingresses of one class by Envoy or NGINX",
    },
}


class CommandError(Exception):
    """A command could not do what it was asked: one line, then more if need be. `code` is the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def main() -> None:
    """The entry point of `mooring`."""
    # structlog loads rich and Pygments where it finds them, 6 MB in every process, for tracebacks in colour: ours are plain.
    sys.modules["rich"] = None  # type: ignore[assignment]
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] in ("-V", "--version", "version"):
        print(f"mooring {mooring.__version__}")
        return 0
    name, *rest = arguments
    known = [command for group in COMMANDS.values() for command in group]
    if name not in known:
        nearest = max(known, key=lambda command: difflib.SequenceMatcher(None, name, command).ratio())
        print(f"mooring: unknown command {name!r}; the nearest known is {nearest!r}", file=sys.stderr)
        return 2
    return _dispatch(name, rest)


def overview() -> str:
    lines = ["Kubernetes Services, complete, on any Linux machine.", "", "Usage: mooring COMMAND [OPTIONS] [ARGUMENTS]"]
    for title, commands in COMMANDS.items():
        lines += ["", f"{title}:", *(f"  {name:<13}{summary}" for name, summary in commands.items())]
    return "\n".join([*lines, "", "`mooring COMMAND --help` tells more about one."])


def _dispatch(name: str, arguments: Sequence[str]) -> int:
    import typer

    usage_error: type[Exception] = typer.BadParameter.__bases__[0]
    module = importlib.import_module(f"mooring.cli.{name}")
    try:
        code = _program(name, module.command)(list(arguments), prog_name=f"mooring {name}", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except CommandError as error:
        print(f"mooring: {error}", file=sys.stderr)
        return error.code
    except typer.Exit as leave:
        return leave.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader of our output has left (`| head`); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except usage_error as error:
        message = getattr(error, "format_message", error.__str__)()
        print(f"mooring: {message}\nTry `mooring {name} --help`.", file=sys.stderr)
        return 2
    except Exception as error:
        return _known_failure(error)


def _program(name: str, command: Callable[..., Any]) -> Callable[..., Any]:
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, context_settings={"help_option_names": ["-h", "--help"]})(command)
    program: Callable[..., Any] = typer.main.get_command(app).main
    return program


def _known_failure(error: Exception) -> int:
    """The failures a user can cause or mend get one line; a defect keeps its traceback."""
    from mooring.app.connection import Refused, Unreachable
    from mooring.app.lifecycle import EXPECTED
    from mooring.app.settings import SettingsError
    from mooring.edges.http.kubeconfig import KubeconfigError

    if isinstance(error, Refused):
        reason = f" ({error.reason})" if error.reason else ""
        print(f"mooring: error from server{reason}: {error}", file=sys.stderr)
        return 1
    if isinstance(error, SettingsError):
        print(f"mooring: {error}", file=sys.stderr)
        return 2
    if isinstance(error, PermissionError):
        print(
            f"mooring: {error.filename or 'permission'}: {error.strerror}; run it as root, for instance with sudo",
            file=sys.stderr,
        )
        return 1
    if isinstance(error, (Unreachable, KubeconfigError, *EXPECTED)):
        print(f"mooring: {error}", file=sys.stderr)
        return 1
    raise error


if __name__ == "__main__":
    # As `python -m` this file is a second module of another name, whose CommandError the commands do not know.
    from mooring.cli import main as entry

    entry.main()
