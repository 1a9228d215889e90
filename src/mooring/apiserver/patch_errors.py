"""In which ways can a patch be refused?"""


class BadPatch(Exception):
    """The patch is not well formed (400)."""


class PatchFailed(Exception):
    """The patch is well formed but does not fit the document (422)."""


class TooManyOperations(Exception):
    """A JSON Patch of more operations than is served (413)."""
