"""How alike two submissions are: runs of tokens that they share, whatever the names in them.

    own part     the statements that the stub does not hold; without docstrings and comments
    tokens       of the statements as Python prints them; names that the learner chose are all one
    runs         every K tokens in a row, counted
    similarity   2 |A and B| / (|A| + |B|)         (Dice's coefficient, of counted runs)
    the rest     the same, without the runs that are also in our solution, its variants and known
                 mistakes, or in the submissions of more than half of the class

A short exercise can be written in few ways, so two who have never met may be wholly alike. So the
rest is what tells, and where it is short even that says nothing: to change one token changes K
runs, so a rest of fewer than LEAST runs is made of three small changes or fewer.

Source: the measure is that of Schleimer, Wilkerson and Aiken 2003 (Winnowing, the paper of MOSS),
which also leaves out what was handed out and what is common; here all runs are kept, as the
texts are short.
"""

import ast
import io
import tokenize
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations

K, LEAST = 6, 20
LOOK = 0.6  # a rest that is as similar as this is worth a look
LAYOUT = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT,
          tokenize.ENDMARKER}


@dataclass(frozen=True)
class Pair:
    """Two students in one exercise. rest: None where too little is left to say anything.

    to_ours: of each of the two, the similarity to the nearest of our texts; runs: how many are left
    of the shorter one.
    """

    exercise: str
    students: tuple
    similarity: float
    to_ours: tuple
    rest: float | None
    runs: int

    @property
    def is_worth_a_look(self):
        return self.rest is not None and self.rest >= LOOK


def compare(exercise, texts):
    """Pairs of all the students who have written something that Python can read.

    texts: {student: text}.
    """
    stub = exercise.stub
    ours = [runs(text, stub) for text in (
        exercise.solution, *(exercise.variant(each.name) for each in exercise.variants),
        *map(exercise.mistaken, exercise.mistakes))]
    theirs = {student: found for student, text in texts.items() if (found := runs(text, stub))}
    seen = Counter(run for found in theirs.values() for run in found)
    common = {run for run, number in seen.items() if number > max(2, len(theirs) / 2)}
    common.update(*ours)
    rests = {student: Counter({run: number for run, number in found.items() if run not in common})
             for student, found in theirs.items()}
    nearest = {student: max(dice(found, each) for each in ours)
               for student, found in theirs.items()}

    pairs = []
    for a, b in combinations(theirs, 2):
        left = min(rests[a].total(), rests[b].total())
        pairs.append(Pair(exercise.name, (a, b), dice(theirs[a], theirs[b]),
                          (nearest[a], nearest[b]),
                          dice(rests[a], rests[b]) if left >= LEAST else None, left))
    return pairs


def borrowed(exercise, text):
    """Names of what a learner was to write and imports from the project instead, sorted."""
    modules, names = zip(*(target.split(":") for target in exercise.targets))
    names, found = {name.split(".")[0] for name in names}, set()
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & set(modules)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minisft":
            found |= {alias.name for alias in node.names} & names
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & set(modules)
    return sorted(found)


def dice(a, b):
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 0.0


def runs(text, stub):
    """A Counter of the runs of tokens in the learner's own part of a text; empty if it has none."""
    try:
        tokens = own_tokens(text, stub)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return Counter()
    return Counter(tuple(tokens[i:i + K]) for i in range(max(len(tokens) - K + 1, bool(tokens))))


def own_tokens(text, stub):
    """The tokens of what a text holds and its stub does not, names that can be chosen made alike.

    They are made alike before the stub is taken out, so that to rename them in all of the file
    does not make the stub's text one's own.
    """
    tree, stub = ast.parse(text), ast.parse(stub)
    alike = Alike(chosen_names(tree) | chosen_names(stub))
    own = own_statements(tree.body, stub.body, alike)
    printed = "\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in own)
    tokens = tokenize.generate_tokens(io.StringIO(printed).readline)
    return [token.string for token in tokens if token.type not in LAYOUT]


def own_statements(body, stub, alike):
    """Statements that are not in the stub; of its functions and classes, those within them."""
    blocks = {node.name: node for node in stub if hasattr(node, "name")}
    handed_out = {ast.dump(alike.visit(deepcopy(node))) for node in stub}
    own = []
    for node in body:
        block = blocks.get(getattr(node, "name", None))
        if type(block) is type(node):
            own += own_statements(node.body, block.body, alike)
        elif not is_aside(node):
            node = alike.visit(node)
            own += [node] * (ast.dump(node) not in handed_out)
    return own


def is_aside(node):
    """Imports and docstrings tell nothing."""
    return isinstance(node, (ast.Import, ast.ImportFrom)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def chosen_names(tree):
    """Names that a text binds; all others, such as those of torch, are not the learner's choice."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias) and node.asname:
            names.add(node.asname)
    return names


class Alike(ast.NodeTransformer):
    """Gives chosen names, and all texts, one form, and takes annotations and docstrings out."""

    def __init__(self, names):
        self.names = names

    def name(self, name):
        return "v" if name in self.names else name

    def visit_Name(self, node):
        return ast.Name(self.name(node.id), node.ctx)

    def visit_Attribute(self, node):
        return ast.Attribute(self.visit(node.value), self.name(node.attr), node.ctx)

    def visit_arg(self, node):
        return ast.arg("v")

    def visit_keyword(self, node):
        return ast.keyword(node.arg, self.visit(node.value))

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.body = [each for each in node.body if not is_aside(each)] or [ast.Pass()]
        node.name, node.returns = "v", None
        return node

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        node.body = [each for each in node.body if not is_aside(each)] or [ast.Pass()]
        node.name = "v"
        return node

    def visit_AnnAssign(self, node):
        if node.value is None:
            return ast.Pass()
        return ast.Assign([self.visit(node.target)], self.visit(node.value))

    def visit_JoinedStr(self, node):
        return ast.Constant("s")

    def visit_Constant(self, node):
        return ast.Constant("s") if isinstance(node.value, (str, bytes)) else node
