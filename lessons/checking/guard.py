"""What code that is tried cannot do by accident: fill the machine, start processes, change files.

    limits of the system        memory, time, file size, number of processes, where it has them
    Python's audit hook         processes and files, on every system
    a copy of the process       what one piece of code changes in memory, the next does not see

None of these stops an attacker, and the hook does not see files that C++ code opens, as torch.save
does. What was refused, and what the code changed in minisft as it lies in memory, is told
afterwards, also where the code has caught the exception.

Source: PEP 578 for the audit hook.
"""

import os
import sys
import traceback
from contextlib import suppress
from functools import cache

if os.name != "nt":
    import resource

COPIES = sys.platform == "linux"  # on macOS torch does not always survive being copied
DONE = 77  # exit status of a copy that came to its end; os._exit(0) in the code is not that
MOST_FILE = 100 * 2**20  # bytes
PROCESSES = {"os.fork", "os.forkpty", "os.exec", "os.spawn", "os.posix_spawn", "os.system",
             "os.startfile", "os.kill", "os.killpg", "pty.spawn", "subprocess.Popen",
             "_winapi.CreateProcess", "_winapi.TerminateProcess"}
FILES = {"os.remove", "os.rename", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.link",
         "os.symlink", "os.mkdir", "shutil.rmtree", "shutil.move"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

refused = []  # what this process has tried in vain


class Forbidden(PermissionError):
    """The code has tried something that no exercise needs."""


def in_a_copy(do):
    """Call `do` in a copy of this process, where the system can make one; else in this process.

    Where the copy ends before `do` does, this process ends as well, with the same exit status.
    """
    if not COPIES:
        do()
        return
    copy = os.fork()
    if not copy:
        try:
            do()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(DONE)
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    if status != DONE:
        os._exit(status if status >= 0 else 128 - status)  # of a signal, as shells count


@cache  # limits are set once in a process
def limit(megabytes, seconds):
    """Limit what this process can do from now on; it may write in its present folder only.

    megabytes: more address space than it has now; seconds: of processor time. The latter is for
    code whose parent has died, so it is not exact.
    """
    if os.name != "nt":
        with suppress(OSError):  # only Linux says how much there is now
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[0]) * resource.getpagesize()
            at_most("AS", now + megabytes * 2**20)
        at_most("CPU", seconds)
        at_most("FSIZE", MOST_FILE)
        at_most("CORE", 0)
        at_most("NPROC", 0)  # no more processes and threads; root may have them all the same
    folder = os.path.realpath(os.getcwd())
    sys.addaudithook(lambda event, arguments: watch(event, arguments, folder))


def at_most(name, amount):
    """Set one of the system's limits, if it has it; it may be lower already."""
    with suppress(AttributeError, OSError, ValueError):
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (amount, amount))


def watch(event, arguments, folder):
    """Refuse an event that starts or ends a process, or changes a file outside of a folder."""
    if event in PROCESSES:
        refuse(f"{event}: an exercise neither starts nor ends processes")
    if event in FILES or event == "open" and (arguments[2] or 0) & WRITES:
        for path in arguments[:2] if event in FILES else arguments[:1]:  # from here, to there
            if isinstance(path, (str, bytes, os.PathLike)) \
                    and not is_inside(os.fsdecode(path), folder):
                refuse(f"{event}({os.fsdecode(path)!r}): an exercise does not change files")


def is_inside(path, folder):
    if path == os.devnull:
        return True
    path = os.path.realpath(path)
    return (path + os.sep).startswith(folder + os.sep)


def refuse(what):
    refused.append(what)
    raise Forbidden(what)


def reference():
    """{name: what it stands for} of everything in minisft that is loaded, and in its classes."""
    found = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] == "minisft":
            for name, value in list(vars(module).items()):
                found[f"{module_name}.{name}"] = value
                if isinstance(value, type) and value.__module__ == module_name:
                    found |= {f"{module_name}.{name}.{key}": each
                              for key, each in vars(value).items()}
    return found


def changes(before):
    """What code has replaced in minisft since `before`, and what was refused to it, in words."""
    after = reference()
    replaced = [name for name, value in before.items() if after.get(name) is not value]
    told = [*refused, *(f"it replaced {name} in memory" for name in replaced)]
    refused.clear()
    return told
