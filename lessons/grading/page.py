"""The page of a class: which mistakes were made by how many, to be shown on a projector.

One HTML file with nothing from outside. A browser that opens it runs no script and loads nothing,
by the page's own policy, and whatever a student has written is escaped. Names are hidden until
their box is ticked.
"""

from collections import Counter
from html import escape
from string import ascii_letters

from lessons.grading.results import FAILED, MISSING, NOT_GRADED, PASSED, STOPPED, TO_DO
from minisft.screen import visible

MOST_PAIRS = 20
FIRST = 12  # of the known mistakes, which are on one screen
MARKS = {PASSED: "✓", TO_DO: "…", MISSING: "", NOT_GRADED: "!", FAILED: "?"}

STYLE = """
:root { font: 18px/1.35 system-ui, sans-serif; color: #111; background: #fff; }
body { margin: 1.5rem auto; max-width: 100rem; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.3rem; margin: 2rem 0 .5rem; }
p { max-width: 60rem; margin: .4rem 0; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { text-align: left; padding: .2rem .6rem; vertical-align: top; }
.list td, .list th { border-bottom: 1px solid #bbb; }
.list td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.list td.who { white-space: nowrap; }
.map th, .map td { text-align: center; padding: 0; border: 1px solid #fff; height: 1.6rem; }
.map td { width: 2.6rem; min-width: 2.6rem; font-weight: 600; }
.map thead th span { writing-mode: vertical-rl; transform: rotate(180deg); padding: .3rem 0;
  font-weight: 400; }
.map th.who { text-align: right; padding: 0 .6rem; font-weight: 400; white-space: nowrap; }
.map td.sum, .map tfoot td { font-weight: 400; background: none; color: #111; }
.passed { background: #cfe3f5; color: #1c4e80; } .todo, .missing { background: #eee; color: #555; }
.failed { background: #fdf0c4; } .stopped { background: #333; color: #fff; }
.known1 { background: #fdd9b5; } .known2 { background: #f9a65a; } .known3 { background: #b84a00;
  color: #fff; }
.legend span { display: inline-block; padding: 0 .6rem; margin: 0 .3rem .3rem 0; }
#names:not(:checked) ~ * .name { display: none; }
@media print { body { max-width: none; } }
"""


def page(table, submissions, exercises, pairs):
    """The HTML. table: {(student, exercise): Result}; pairs: see similarity.compare."""
    codes, mistakes = known_mistakes(table, exercises)
    people = {submission.student: number for number, submission in enumerate(submissions, 1)}
    passed = sum(result.status == PASSED for result in table.values())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Exercises of a class</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<input type="checkbox" id="names"> <label for="names">show names</label>
<h1>{len(submissions)} students, {len(exercises)} exercises: {passed} of {len(table)} passed</h1>
{heat_map(table, people, exercises, codes)}
{mistake_table(mistakes, len(submissions))}
{trouble_table(table, submissions, people)}
{similarity_table(pairs, people)}
<p>Code that hung, ended its process, printed or took too much was stopped; starting processes and
changing files was refused. This stops accidents, not attackers: code that wants to harm a machine
or to forge its result can.</p>
</body></html>
"""


def known_mistakes(table, exercises):
    """The codes of what was recognised, and a list of it from the most frequent on.

    {(exercise, hint): "6a"}, and (code, exercise, Mistake, how many students).
    """
    codes, found = {}, []
    for each in exercises:
        hints = Counter(result.hint for result in table.values()
                        if result.exercise == each.name and result.status == FAILED)
        known = [mistake for mistake in each.mistakes if hints[mistake.name]]
        known.sort(key=lambda mistake: -hints[mistake.name])
        for letter, mistake in zip(ascii_letters, known):
            codes[each.name, mistake.name] = f"{each.number}{letter}"
            found.append((f"{each.number}{letter}", each, mistake, hints[mistake.name]))
    return codes, sorted(found, key=lambda row: -row[3])


def heat_map(table, people, exercises, codes):
    """A row for each student, a column for each exercise."""
    frequent = Counter((result.exercise, result.hint) for result in table.values())
    head = "".join(f"<th scope='col'>{each.number}<br><span>{text(each.name)}</span></th>"
                   for each in exercises)
    rows = []
    for student in people:
        results = [table[student, each.name] for each in exercises]
        cells = "".join(map_cell(result, codes, frequent, len(people)) for result in results)
        points = sum(result.points for result in results)
        rows.append(f"<tr><th scope='row' class='who'>{who(student, people)}</th>{cells}"
                    f"<td class='sum'>{points}</td></tr>")
    share = "".join(
        f"<td>{sum(table[student, each.name].points for student in people)}</td>"
        for each in exercises)
    return f"""<table class="map"><thead><tr><th></th>{head}<th scope="col">
<span>points</span></th></tr></thead>
<tbody>{''.join(rows)}</tbody>
<tfoot><tr><th scope="row" class="who">passed</th>{share}<td></td></tr></tfoot></table>
<p class="legend"><span class="passed">✓ passed</span>
<span class="known1">6a</span><span class="known2">6a</span><span class="known3">6a</span> a known
mistake, made by few, by more than a tenth, by more than a quarter of the class
<span class="failed">? wrong, cause not known</span><span class="stopped">! stopped</span>
<span class="todo">… not begun</span><span class="missing">not handed in</span></p>"""


def map_cell(result, codes, frequent, students):
    code = codes.get((result.exercise, result.hint))
    if result.status == FAILED and code:
        share = frequent[result.exercise, result.hint] / students
        kind, mark = f"known{1 + (share > 0.1) + (share > 0.25)}", code
    elif result.status == NOT_GRADED or result.hint in STOPPED:
        kind, mark = "stopped", "!"
    else:
        kind, mark = result.status.replace(" ", ""), MARKS[result.status]
    told = f"{result.hint}: {result.cause}" if result.hint else result.cause or result.status
    return f"<td class='{kind}' title='{text(told)}'>{mark}</td>"


def mistake_table(mistakes, students):
    if not mistakes:
        return ""
    rows = [f"<tr><td>{code}</td><td>{text(each.name)}</td><td>{text(mistake.name)}</td>"
            f"<td>{text(mistake.hint)}</td><td class='number'>{number} of {students}</td></tr>"
            for code, each, mistake, number in mistakes]
    head = """<table class="list"><thead><tr><th></th><th>exercise</th><th>mistake</th><th>what the
learner was told</th><th>students</th></tr></thead><tbody>"""
    rest = f"""<details><summary>{len(rows) - FIRST} rarer ones</summary>
{head}{"".join(rows[FIRST:])}</tbody></table></details>""" if len(rows) > FIRST else ""
    return f"""<h2>Known mistakes, from the most frequent on</h2>
{head}{"".join(rows[:FIRST])}</tbody></table>{rest}"""


def trouble_table(table, submissions, people):
    """What was stopped, refused or taken from the project, and what could not be used."""
    rows = [(result.student, result.exercise, text(result.trouble)) for result in table.values()
            if result.trouble]
    rows += [(submission.student, "",  # a file may be named after somebody
              f"a file was not used<span class='name'>: {text(note)}</span>")
             for submission in submissions for note in submission.notes]
    if not rows:
        return ""
    cells = "".join(f"<tr><td class='who'>{who(student, people)}</td><td>{text(name)}</td>"
                    f"<td>{what}</td></tr>" for student, name, what in rows)
    return f"""<h2>Stopped, refused, noted or not used</h2>
<table class="list"><thead><tr><th>student</th><th>exercise</th><th>what</th></tr></thead>
<tbody>{cells}</tbody></table>"""


def similarity_table(pairs, people):
    """Pairs that are worth a look, and how many alike ones are not."""
    chosen = sorted((pair for pair in pairs if pair.is_worth_a_look),
                    key=lambda pair: (-pair.rest, -pair.runs))
    nothing = sum(pair.similarity >= 0.8 and pair.rest is None for pair in pairs)
    rows = "".join(
        f"<tr><td>{text(pair.exercise)}</td><td class='who'>{who(pair.students[0], people)}</td>"
        f"<td class='who'>{who(pair.students[1], people)}</td>"
        + "".join(f"<td class='number'>{value:.0%}</td>" for value in
                  (pair.similarity, *pair.to_ours, pair.rest))
        + f"<td class='number'>{pair.runs}</td></tr>" for pair in chosen[:MOST_PAIRS])
    shown = f"""<table class="list"><thead><tr><th>exercise</th><th>student</th><th>other</th>
<th>alike</th><th>student to ours</th><th>other to ours</th><th>the rest alike</th>
<th>runs in the rest</th></tr></thead><tbody>{rows}</tbody></table>"""
    if not chosen:
        shown = "<p>No pair is worth a look.</p>"
    more = len(chosen) - MOST_PAIRS
    return f"""<h2>Submissions that are alike</h2>
<p>Measured on what the learner wrote: the stub's text, names, comments and layout do not count.
A short exercise can be written in few ways, so being alike means nothing by itself. What tells is
<b>the rest</b>: what is left without all that also stands in our solution, its variants and its
known mistakes, or in more than half of the class. {nothing} pairs are at least 80% alike and have
next to no rest: <b>that says nothing</b>. A high value below is a reason to look at both texts and
to ask, not a proof.</p>
{shown}{f"<p>{more} more pairs are in similarity.csv.</p>" if more > 0 else ""}"""


def who(student, people):
    """A student's number, and the name that a box shows."""
    return f"{people[student]}<span class='name'> {text(student)}</span>"


def text(value):
    """Whatever text, as text in HTML or in an attribute."""
    return escape(visible(value))
