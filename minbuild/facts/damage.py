"""How a reader of foreign bytes says that it cannot go on."""


class Damage(Exception):
    """Bytes are not what their format promises; `reason` is a sentence for people.

    It never leaves this package of modules: deb makes an ArchiveError of it, sniff a
    `types.Damaged`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
