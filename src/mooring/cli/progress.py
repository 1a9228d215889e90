"""How is progress shown? A moving line on a terminal, plain lines elsewhere; always on standard error."""

import sys

from mooring.app.progress import Step


class Progress:
    """Give `show` to what tells Steps."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._waiting = ""

    def show(self, step: Step) -> None:
        match step.kind:
            case "waiting":
                self._waiting = step.text
                self._line(f"  … {step.text}", done=False)
            case "done":
                self._line(f"  ✓ {step.text} ({step.seconds:.1f} s)")
            case "note":
                self._line(f"  ! {step.text}")
                if self._waiting and self._terminal:
                    self._line(f"  … {self._waiting}", done=False)
            case "ready":
                self._line(step.text)
            case "failed":
                self._clear()
        if step.kind != "note" and step.kind != "waiting":
            self._waiting = ""

    def _line(self, text: str, done: bool = True) -> None:
        if self._terminal:
            self._clear()
            print(text, end="\n" if done else "", file=sys.stderr, flush=True)
        elif done:
            print(text.strip(), file=sys.stderr, flush=True)
        else:
            print(f"waiting for {self._waiting}", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
