"""What every command-line script shares: one clear line and exit status 1 for what a user can fix."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence


def run(main: Callable[[Sequence[str] | None], int | None]) -> None:
    """Run a script's main; a ValueError or OSError ends it with one line on stderr, any other error is a bug and shows its trace."""
    try:
        status = main(None)
    except (ValueError, OSError) as error:
        print(f"error: {error}{advice(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # 128 + SIGINT, what shells and Snakemake take for an interruption.
        raise SystemExit(130) from None
    raise SystemExit(status or 0)


def advice(error: Exception) -> str:
    """Return what to do if the system's own message does not say it."""
    if not isinstance(error, OSError):
        return ""
    # No room on the disk, or none left in the user's quota.
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; free some space, or set `output` to a folder with room, and run again: what is finished is kept"
    if error.errno == errno.EROFS:
        return "; this folder cannot be written: remount it, or set `output` to one that can"
    return ""
