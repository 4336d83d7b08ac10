"""The results of a class, and the tables that are made of them.

    results.jsonl                 one line for each exercise of a student, written when it is known
    long.csv                      the same as a table
    wide.csv                      a line for each student, a column of points for each exercise
    similarity.csv                each pair of students in each exercise
    gradescope/alice/results.json what Gradescope's autograder reads

An exercise gives one point, or none.
"""

import csv
import io
import json
from dataclasses import asdict, astuple, dataclass, fields

from minisft.checkpoint import write_atomically
from minisft.screen import visible

PASSED, MISSING, TO_DO, FAILED, NOT_GRADED = "passed", "missing", "to do", "failed", "not graded"
STOPPED = ("too slow", "died", "prints", "memory", "forbidden")  # hints of what had to be stopped


@dataclass(frozen=True)
class Result:
    """One exercise of one student. of: digest of what it was computed from.

    hint: id of the known mistake or general symptom; cause: the hint itself; report: all that the
    learner is told; note: what was refused to it, or changed by it.
    """

    student: str
    exercise: str
    points: int
    status: str
    hint: str = ""
    cause: str = ""
    seconds: float | None = None
    peak_mb: float | None = None
    note: str = ""
    report: str = ""
    of: str = ""

    @property
    def trouble(self):
        """What had to be stopped or refused, in words; "" if nothing."""
        parts = []
        if self.status == NOT_GRADED or self.hint in STOPPED:
            parts.append(f"{self.hint or self.status}: {self.cause}")
        if self.note and self.note not in self.cause:
            parts.append(self.note)
        return "; ".join(parts)


def read_results(path):
    """{(student, exercise): Result} of a results.jsonl; a line that was cut off is left out."""
    found = {}
    names = {field.name for field in fields(Result)}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.keys() == names:
            found[row["student"], row["exercise"]] = Result(**row)
    return found


def as_line(result):
    return json.dumps(asdict(result)) + "\n"


def write_csv(path, head, rows):
    """A CSV that spreadsheets open as text, also where a cell begins like a formula."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(map(cell, head))
    writer.writerows(map(cell, row) for row in rows)
    write_atomically(path, file.getvalue().encode("utf-8-sig"))  # by which Excel knows UTF-8


def cell(value):
    """A value as a cell: numbers rounded, None empty, no text that a spreadsheet computes."""
    if isinstance(value, float):
        return f"{value:.3f}"
    if not isinstance(value, str):
        return value
    text = visible(value, kept="\n")
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def write_tables(folder, table, submissions, exercises, pairs):
    """All CSVs and the JSON for Gradescope. table: {(student, exercise): Result}."""
    head = ("student", "exercise", "points", "status", "hint", "cause", "seconds", "peak_mb",
            "note")
    write_csv(folder / "long.csv", head, (astuple(result)[:len(head)] for result in table.values()))

    wide = []
    for submission in submissions:
        points = [table[submission.student, each.name].points for each in exercises]
        wide.append((submission.student, sum(points), *points, "; ".join(submission.notes)))
    write_csv(folder / "wide.csv",
              ("student", "points", *(each.name for each in exercises), "notes"), wide)

    write_csv(folder / "similarity.csv",
              ("exercise", "student", "other", "similarity", "student to ours", "other to ours",
               "similarity of the rest", "runs in the rest"),
              ((pair.exercise, *pair.students, pair.similarity, *pair.to_ours, pair.rest, pair.runs)
               for pair in pairs))

    for submission in submissions:
        results = [table[submission.student, each.name] for each in exercises]
        write_atomically(folder / "gradescope" / submission.student / "results.json",
                         json.dumps(gradescope(submission, results, exercises), indent=1).encode())


def gradescope(submission, results, exercises):
    """One student's results as Gradescope's autograder specification has them."""
    notes = "\n".join(submission.notes)
    return {
        "score": sum(result.points for result in results),
        "output": visible(notes) or "Each exercise gives one point.",
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "execution_time": round(sum(result.seconds or 0 for result in results)),
        "tests": [{
            "name": f"{each.number} {each.name}: {each.title}",
            "number": str(each.number),
            "score": result.points,
            "max_score": 1,
            "status": "passed" if result.status == PASSED else "failed",
            "output": visible(result.report or result.cause or result.status),
            "output_format": "text",
            "visibility": "visible",
        } for each, result in zip(exercises, results)],
    }
