"""Grade the exercises of a class, and see which mistakes it makes.

    python lessons/grade.py submissions --out grades --jobs 2

`submissions` holds a folder, a .zip or a .py file for each student, with the files as they lie in
lessons/mine. `grades` then holds a page to be shown in class (class.html), tables (long.csv,
wide.csv, similarity.csv), and a results.json for each student in Gradescope's format.

Each exercise of each student runs in a process of its own, on a copy, with limits on time, memory,
output and processes. This stops accidents, not attackers: code that wants to harm the machine or to
forge its result can. Grade strangers' code in a virtual machine or a container without a network.

A run that was stopped is continued by the same command; what has not changed is not run again.
"""

import io
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

sys.path += map(str, Path(__file__).resolve().parents)  # finds minisft

from tqdm import tqdm

from lessons.check import SECONDS, report, show
from lessons.checking.diagnose import AnswerKey, diagnose, packed_cases
from lessons.checking.exercise import ORDER, ROOT, exercise
from lessons.checking.guard import COPIES
from lessons.checking.worker import Job, run_apart
from lessons.grading.page import page
from lessons.grading.results import (
    FAILED,
    MISSING,
    NOT_GRADED,
    PASSED,
    Result,
    as_line,
    read_results,
    write_tables,
)
from lessons.grading.similarity import borrowed, compare
from lessons.grading.submissions import read_submissions
from minisft.checkpoint import write_atomically
from minisft.config import at_least, option, parse
from minisft.lock import locked
from minisft.screen import visible

RULES = ("minisft", "lessons/checking", "lessons/grading", "lessons/exercises/defs")


@dataclass(frozen=True)
class GradeConfig:
    submissions: str = option("", "folder with a folder, .zip or .py file for each student")
    out: str = option("grades", "folder for the results")
    jobs: int = option(2, "submissions that run at once; as many as there are cores")

    def __post_init__(self):
        at_least(self, jobs=1)
        out, submissions = Path(self.out).resolve(), Path(self.submissions).resolve()
        if out == submissions or submissions in out.parents:
            raise ValueError(f"--out {self.out} lies in the submissions and would be taken for a "
                             "student; name a folder beside them")


# Running


def rules():
    """A digest of the code that a result depends on, beside the submission."""
    paths = sorted(path for name in RULES for path in (ROOT / name).rglob("*.py"))
    return sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def digest(text, rules):
    return sha256(f"{rules}\0{text}".encode()).hexdigest()[:16]


def run(texts, keys):
    """The finished Jobs of one student. texts: {name of an exercise: text}.

    The code finds a copy of its files around it. Where the system cannot copy a process, each
    exercise has a fresh one, so that none sees what another has done.
    """
    with tempfile.TemporaryDirectory(prefix="submission-", ignore_cleanup_errors=True) as folder:
        jobs = []
        for name, text in texts.items():
            path = Path(folder) / keys[name].exercise.file
            path.write_text(text, encoding="utf-8")
            jobs.append(Job(name, text, str(path), keys[name].cases))
        for group in [jobs] if COPIES else [[job] for job in jobs]:
            run_apart(group, SECONDS)
    return jobs


def result_of(student, job, key, rules):
    """The Result of a finished Job."""
    verdict, of = diagnose(key, job.outcomes), digest(job.text, rules)
    job.path = key.exercise.file  # the name that the student knows
    with redirect_stdout(io.StringIO()) as told:
        report(key.exercise, verdict, job, alone=False)
    notes = [*job.tried, *(f"it takes {name} from the project, which was to be written"
                           for name in borrowed(key.exercise, job.text))]
    return Result(student, job.exercise, int(verdict.status == PASSED), verdict.status,
                  verdict.hint, cause_of(verdict), job.seconds, job.peak_mb, "; ".join(notes),
                  told.getvalue().strip(), of)


def cause_of(verdict):
    """The likely cause, with the exception or, where no cause is known, the value that differs."""
    if verdict.status != FAILED:
        return verdict.cause
    if not verdict.where:
        return f"{verdict.cause} {verdict.got}".strip()
    return verdict.cause or (f"{verdict.where}: expected {show(verdict.expected)}, "
                             f"got {show(verdict.got)}")


def not_graded(student, name, error):
    """The Result where the grader itself has failed; it is of nothing, so it is tried again."""
    return Result(student, name, 0, NOT_GRADED,
                  cause=f"the grader failed: {type(error).__name__}: {error}")


def grade(waiting, keys, rules, jobs):
    """Yield the Result of each exercise of each student, in the order in which they are known.

    waiting: {student: {name of an exercise: text}}. Whatever fails, the others are still graded.
    """
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, texts, keys): student for student, texts in waiting.items()}
        try:
            for future in as_completed(futures):
                yield from results_of(future, futures[future], waiting, keys, rules)
        finally:  # on Ctrl-C: what runs comes to its end, the rest does not begin
            pool.shutdown(wait=False, cancel_futures=True)


def results_of(future, student, waiting, keys, rules):
    """The Results of one student whose run is over."""
    if future.exception():
        for name in waiting[student]:
            yield not_graded(student, name, future.exception())
        return
    for job in future.result():
        try:
            yield result_of(student, job, keys[job.exercise], rules)
        except Exception as error:  # an answer so strange that our own code cannot stand it
            yield not_graded(student, job.exercise, error)


# The whole class


def grade_class(config):
    """Grade all, and write everything; returns the submissions and {(student, exercise): Result}"""
    exercises = [exercise(name) for name in ORDER]
    submissions = read_submissions(config.submissions, exercises)
    folder, now = Path(config.out), rules()
    known = read_results(folder / "results.jsonl")
    write_atomically(folder / "results.jsonl", "".join(map(as_line, known.values())).encode())
    kept = {(submission.student, name): known[submission.student, name]
            for submission in submissions for name, text in submission.texts.items()
            if (submission.student, name) in known
            and known[submission.student, name].of == digest(text, now)}

    keys = {each.name: AnswerKey(each, packed_cases(each, random.Random(0))) for each in exercises}
    results = kept | graded_now(submissions, kept, keys, now, config.jobs, folder)
    table = {(submission.student, each.name): results.get(
        (submission.student, each.name), Result(submission.student, each.name, 0, MISSING))
        for submission in submissions for each in exercises}
    pairs = [pair for each in exercises for pair in compare(each, {
        submission.student: submission.texts[each.name] for submission in submissions
        if each.name in submission.texts})]
    write_tables(folder, table, submissions, exercises, pairs)
    write_atomically(folder / "class.html", page(table, submissions, exercises, pairs).encode())
    return submissions, table


def graded_now(submissions, kept, keys, rules, jobs, folder):
    """{(student, exercise): Result} of what was not kept, each written as soon as it is known."""
    waiting = {submission.student: {name: text for name, text in submission.texts.items()
                                    if (submission.student, name) not in kept}
               for submission in submissions}
    waiting = {student: texts for student, texts in waiting.items() if texts}
    found = {}
    with (open(folder / "results.jsonl", "a", encoding="utf-8") as file,
          closing(grade(waiting, keys, rules, jobs)) as results,
          tqdm(results, total=sum(map(len, waiting.values())), unit=" checks") as bar):
        for result in bar:
            found[result.student, result.exercise] = result
            file.write(as_line(result))
            file.flush()
    return found


def summary(submissions, table, folder):
    """What a teacher should read first."""
    passed = sum(result.status == PASSED for result in table.values())
    lines = [f"{len(submissions)} students, {passed} of {len(table)} exercises passed."]
    lines += [f"  {result.student}, {result.exercise}: {result.trouble}"
              for result in table.values() if result.trouble]
    lines += [f"  {submission.student}: {note}" for submission in submissions
              for note in submission.notes]
    lines += [f"Open {folder / 'class.html'} in a browser; the tables are beside it.",
              "The limits stop accidents, not attackers."]
    return visible("\n".join(lines))


def main(argv=None):
    config = parse(GradeConfig, argv, "python lessons/grade.py",
                   "Grade the exercises of a class: tables, a page of its mistakes, Gradescope's "
                   "JSON. A run that was stopped is continued. The limits on what submissions can "
                   "do stop accidents, not attackers.", positional=("submissions",))
    try:
        with locked(config.out):
            print(summary(*grade_class(config), Path(config.out)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"lessons/grade.py: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\nlessons/grade.py: stopped; the same command continues") from None


if __name__ == "__main__":
    main()
