"""No orphans: a child process ends when its parent does, `kill -9` included."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def ending_with(parent_pid: int) -> Callable[[], None] | None:
    """
    Give what a child calls first, to be ended by TERM when its parent ends; None where the system cannot (prctl(2)).

    What is given needs nothing that a fork could have left half done. It ends the child if the parent has gone already.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:
            os._exit(1)

    return in_child
