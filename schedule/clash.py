"""The other `schedule`: an unrelated job scheduler on PyPI has the same import name.

Both are folders of that name, so that in one environment they are one folder, with the
`__init__.py` of whichever was installed last; and who uninstalls one takes that file from
the other. Where our file is gone, this is what notices; where theirs is, the import says so.
"""

from __future__ import annotations

import os
import sys

#: What the job scheduler offers, and code that wants it asks for.
_THEIRS = {"CancelJob", "Job", "Scheduler", "cancel_job", "clear", "default_scheduler", "every"}
_THEIRS |= {"get_jobs", "idle_seconds", "jobs", "next_run", "repeat", "run_all", "run_pending"}
_APART = "keep the two in environments of their own"
_WAY_OUT = (
    f"run 'pip uninstall schedule', then install graph-schedule again (--force-reinstall); {_APART}"
)


def fault() -> str | None:
    """Why the package `schedule` that is imported isn't this one; None: it is."""
    package = sys.modules["schedule"]
    if "solve" in getattr(package, "__all__", ()):
        return None
    if getattr(package, "__file__", None) is None:
        here = os.path.dirname(__file__)
        return (
            f"graph-schedule's __init__.py is missing in {here}, as after 'pip uninstall schedule':"
            " another distribution has the same import name; install graph-schedule again"
            " (--force-reinstall)"
        )
    return (
        f"{package.__file__} isn't graph-schedule's: another distribution of the import name"
        f" 'schedule' was installed over it, such as PyPI's job scheduler; {_WAY_OUT}"
    )


def require_ours() -> None:
    """Refuse to go on as part of another package.

    Raises
    ------
    ImportError
        The `schedule` that is imported isn't graph-schedule.
    """
    if (found := fault()) is not None:
        raise ImportError(found, name="schedule")


def other() -> str | None:
    """What to warn of where the job scheduler is installed, too; None: it isn't.

    Looks for its metadata beside this package and in the folders of installed ones, which
    takes a fraction of a millisecond.
    """
    beside = os.path.dirname(os.path.dirname(__file__))
    installed = ("site-packages", "dist-packages")
    folders = [path for path in sys.path if os.path.basename(path) in installed]
    for folder in dict.fromkeys([beside, *folders]):
        if (found := _other_in(folder)) is not None:
            said = (
                f"PyPI's job scheduler is installed, too ({os.path.join(folder, found)}), and has"
                " the import name 'schedule' as well: what needs it gets graph-schedule"
            )
            if folder != beside:
                return f"{said}; {_APART}"
            return f"{said}, and uninstalling it breaks graph-schedule; {_WAY_OUT}"
    return None


def _other_in(folder: str) -> str | None:
    """The metadata of a distribution called `schedule`."""
    try:
        names = os.listdir(folder)
    except OSError:  # what isn't there, or may not be read, has nothing to be imported
        return None
    endings = (".dist-info", ".egg-info")
    return next((n for n in names if n.startswith("schedule-") and n.endswith(endings)), None)


def unknown(name: str) -> str:
    """What to say of a name that this package doesn't have."""
    said = f"module 'schedule' has no attribute {name!r}"
    if name in _THEIRS:
        said += (
            ": this is graph-schedule, which plans memory; the job scheduler of the same import"
            " name can't live in one environment with it"
        )
    return said
