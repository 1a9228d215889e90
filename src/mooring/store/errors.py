"""How does a store say that it cannot keep what it was given?"""


class StorageError(Exception):
    """The storage refused. The message names the file, what happened and what to do."""


class StorageFull(StorageError):
    """No room: nothing of the transaction was written, what was acknowledged is safe, and later commits may succeed."""


class StorageLocked(StorageError):
    """Another process holds the file."""


class StorageCorrupt(StorageError):
    """The file is not one of ours, is damaged, or was written by a newer version."""


class StorageFailed(StorageError):
    """Writing failed so that the outcome is unknown. The store takes no more writes: reopen it to learn what is durable."""
