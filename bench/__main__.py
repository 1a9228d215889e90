"""Which benchmark, and how is its result shown? `python -m bench NAME [--json] [options]`, `python -m bench --list`.

`python -m bench NAME --help` tells what it measures, and its options.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

from bench._ending import as_by_ctrl_c

NOT_BENCHMARKS = {"__main__", "soak"}


def names() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in found if name not in NOT_BENCHMARKS and not name.startswith("_"))


def main(arguments: list[str]) -> int:
    """0 done, 1 the benchmark failed (its own exception), 2 usage, 130 ended by SIGTERM or Ctrl-C."""
    if arguments[:1] == ["--list"]:
        for name in names():
            summary = (importlib.import_module(f"bench.{name}").__doc__ or "").strip().splitlines()[0]
            print(f"{name:16} {summary}")
        return 0
    if not arguments or arguments[0] not in names():
        print(f"usage: python -m bench NAME [--json] [options]; NAME is one of {', '.join(names())}", file=sys.stderr)
        return 2
    name, options = arguments[0], [option for option in arguments[1:] if option != "--json"]
    benchmark = importlib.import_module(f"bench.{name}")
    if {"-h", "--help"} & set(options):
        print((benchmark.__doc__ or "").strip())
        return 0
    as_by_ctrl_c()
    try:
        figures = benchmark.run(options)
    except KeyboardInterrupt:
        return 130
    if "--json" in arguments:
        print(json.dumps(figures))
    else:
        width = max(map(len, figures))
        for key, value in figures.items():
            print(f"{key:<{width}}  {value:,.3f}" if isinstance(value, float) else f"{key:<{width}}  {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
