"""What a class has handed in: a folder, a .zip or a .py file for each student.

    submissions/alice/06_adamw.py        a folder, files anywhere below it, .zip files among them
    submissions/bob.zip                  the same, packed
    submissions/carol_06_adamw.py        a file; carol may have handed in others
    lessons/mine/06_adamw.py             files without a name are one student's, named mine

A file belongs to the exercise that its name names, whatever number stands in front and whatever a
browser has added: 6_adamw.py, "adamw (1).py". Any other name counts if the file defines what one
exercise, and no other, asks for. Of a whole project only lessons/mine is read, as all the rest is
ours. What cannot be used is noted, not passed over.
"""

import ast
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MOST_BYTES = 1_000_000  # of one file; an exercise has a hundredth of it
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError,
              ValueError)


@dataclass
class Submission:
    """One student's. texts: {name of an exercise: text}; notes: what could not be used, and why."""

    student: str
    texts: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    names: dict = field(default_factory=dict)  # {name of an exercise: the file that it came from}


def read_submissions(folder, exercises):
    """The Submissions in a folder by student; ValueError if there is none."""
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder; expected one that holds a folder, a .zip or "
                         "a .py file for each student")
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if is_hidden(Path(path.name)):
            continue
        if path.is_dir() or path.suffix.lower() in (".py", ".zip"):
            student, files = student_of(path, exercises), files_in(path)
        else:
            student = path.name
            files = [(path.name, ValueError("it is no folder, .zip or .py file"))]
        submission = found.setdefault(student, Submission(student))
        for name, content in files:
            take(submission, name, content, exercises)
        if not submission.texts and not submission.notes:
            submission.notes.append(f"{path.name}: it holds no exercise; they lie in lessons/mine")
    if not found:
        raise ValueError(f"{folder} is empty; expected a folder, a .zip or a .py file for each "
                         "student")
    return [found[student] for student in sorted(found, key=str.casefold)]


def is_hidden(path):
    """Whether a path is made by a system, not by a student."""
    return any(part.startswith(".") or part in ("__MACOSX", "__pycache__") for part in path.parts)


def student_of(path, exercises):
    """Whose a folder or file is, by its name: bob of bob_06_adamw.py.

    Of a file that names an exercise and nobody, the folder in which it lies.
    """
    if path.is_dir():
        return path.name
    name, names = plain(path.name), "|".join(re.escape(each.name) for each in exercises)
    for pattern in (rf"(.+?)[ _-]+\d+[ _-]*({names})", rf"(.*[^\d _-].*?)[ _-]+({names})"):
        if match := re.fullmatch(pattern, name, re.IGNORECASE):
            return match[1]
    if re.fullmatch(rf"(\d+[ _-]*)?({names})", name, re.IGNORECASE):
        return path.resolve().parent.name
    return path.stem


def plain(name):
    """A file's name without its ending and without what browsers and systems add to copies.

    >>> plain("06_adamw (1).py"), plain("06_adamw - Copy.py")
    ('06_adamw', '06_adamw')
    """
    return re.sub(r"( ?\(\d+\)| - copy| copy( \d+)?)+$", "", name.rsplit(".", 1)[0],
                  flags=re.IGNORECASE)


def files_in(path):
    """(name, content) of each Python file below a path, in a .zip too.

    content: bytes, or a ValueError that says why there are none.
    """
    if path.is_dir():
        inside = [each.relative_to(path) for each in sorted(path.rglob("*")) if each.is_file()]
        for each in handed_in(inside):
            if each.suffix.lower() in (".py", ".zip"):
                yield from files_in(path / each)
            else:
                yield each.name, ValueError("it is no .py file or .zip")
    elif path.suffix.lower() == ".zip":
        yield from files_in_zip(path)
    else:
        try:
            with open(path, "rb") as file:
                yield path.name, file.read(MOST_BYTES + 1)
        except OSError as error:
            yield path.name, ValueError(f"it cannot be read ({error})")


def files_in_zip(path):
    """The same for a .zip, which is read and not unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {PurePosixPath(member.filename): member for member in archive.infolist()
                       if not member.is_dir()}
            for inside in handed_in(members):
                if inside.suffix.lower() == ".py":
                    with archive.open(members[inside]) as file:
                        yield inside.name, file.read(MOST_BYTES + 1)
                else:
                    yield inside.name, ValueError("it is no .py file")
    except BROKEN_ZIP as error:
        yield path.name, ValueError(f"it cannot be read ({error})")


def handed_in(paths):
    """Those of a student's paths that are the student's; of a whole project its lessons/mine."""
    projects = [path.parents[1] for path in paths if path.parts[-2:] == ("lessons", "check.py")]
    return [path for path in paths
            if not is_hidden(path) and path.name != "progress.json" and path.suffix != ".old"
            and all(path.is_relative_to(project / "lessons" / "mine")
                    for project in projects if path.is_relative_to(project))]


def take(submission, name, content, exercises):
    """Put a file where it belongs, or note why not."""
    try:
        text = decoded(content)
    except ValueError as error:
        submission.notes.append(f"{name}: {error}")
        return
    exercise = exercise_of(name, text, exercises)
    if exercise is None:
        submission.notes.append(f"{name}: it belongs to no exercise")
        return
    used = submission.names.get(exercise.name)
    if used is not None:
        keeps = used == exercise.file or name != exercise.file
        if keeps:
            submission.notes.append(f"{name}: not used, as {used} is of the same exercise")
            return
        submission.notes.append(f"{used}: not used, as {name} is of the same exercise")
    submission.texts[exercise.name], submission.names[exercise.name] = text, name


def decoded(content):
    """The text of a file; ValueError says why it has none."""
    if isinstance(content, ValueError):
        raise content
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not in UTF-8 ({error}); save it as UTF-8") from None


def exercise_of(name, text, exercises):
    """The exercise that a file belongs to, or None."""
    stem = plain(name).lower()
    for each in exercises:
        if re.fullmatch(rf"((.+[ _-])?\d+[ _-]*)?{re.escape(each.name)}", stem):
            return each
    defined = top_names(text)
    fitting = [each for each in exercises if {
        target.split(":")[1].split(".")[0] for target in each.targets} <= defined]
    return fitting[0] if len(fitting) == 1 else None


def top_names(text):
    """Names of the functions and classes that stand at the top of a text; none if it is broken."""
    try:
        return {getattr(node, "name", None) for node in ast.parse(text).body}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
