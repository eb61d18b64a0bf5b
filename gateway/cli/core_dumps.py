"""No core dumps: the memory of a process that holds the secret is not written to a disk."""

import ctypes
import resource
import sys

PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """
    Let this process leave no core dump, nor any that it starts.

    A handler that the kernel pipes dumps to heeds no limit, hence the second call; that one does not outlive an exec.
    Nor may another process of this user look into our memory then.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)
