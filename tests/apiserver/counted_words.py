"""How often are texts compared? Texts that count it, each kind for itself."""


def counted_words() -> type[str]:
    """A class of texts; its `compared` says how often one of them was compared with anything."""

    class Word(str):
        compared = 0

        def __eq__(self, other):
            Word.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    return Word
