"""Who runs a command, as entries of the ledger say it."""

import os
import pwd


def actor() -> str:
    """`cli:USER`, by the user id of this process; the number where it has no name."""
    user_id = os.getuid()
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = str(user_id)
    return f"cli:{name if name.isascii() else user_id}"
