"""The structure of the code and of its documents in figures, of one checkout or of two beside each other.

    python -m benchmarks.structure [PATH] [--against OLDER_PATH]

Nothing of the checkouts is imported: files are parsed, so that it reads a commit whatever that needs to run. Code is
what is installed, not tests and benchmarks. An import counts wherever it stands, in a function too. Words are counted
outside code blocks and links' targets.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared.checkout import ROOT
from benchmarks.shared.comparing import table
from benchmarks.shared.options import make_parser, read_options

PACKAGES = ("maker", "decomposers", "voters")
ARCHITECTURE = "docs/architecture.md"
LONG_FUNCTION = 40
"""Lines, from ``def`` to the last one, without the docstring."""
PRAGMA = re.compile(r"#\s*(noqa|type:|fmt:|pragma|mypy:|!)")
"""Comments that speak to a tool."""
NO_PROSE = re.compile(r"^```.*?^```|^    .*?$|`[^`\n]*`|(?<=\])\([^)\s]*\)|<!--.*?-->", re.DOTALL | re.MULTILINE)
WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = Mapping[str, set[str]]


class Module(NamedTuple):
    """A file of code: its path from the checkout, its dotted name, its text, and what it parses to."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.text.count("\n")


def modules(root: Path) -> list[Module]:
    """Return every file of code of a checkout, in order of paths."""
    found = []
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        path, text = file.relative_to(root), file.read_text(encoding="utf-8")
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(path, name, text, ast.parse(text)))
    return found


def fullest(code: Iterable[Module]) -> str:
    """Return the folder that holds the most modules itself, ``__init__`` not counted."""
    counts = Counter(one.path.parent for one in code if one.path.stem != "__init__")
    ((folder, count),) = counts.most_common(1)
    return f"{count} ({folder})"


def layers(root: Path) -> str:
    """Return how many layers the import contract has."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return ", ".join(str(len(one["layers"])) for one in contracts if one["type"] == "layers")


def imports(code: Iterable[Module]) -> Graph:
    """Return which modules each module imports, of the code itself."""
    known = {one.name: one for one in code}
    return {
        name: {one for node in ast.walk(module.tree) for one in _named(node, module, known) if one != name}
        for name, module in known.items()
    }


def _named(node: ast.AST, module: Module, known: Collection[str]) -> Iterator[str]:
    """Yield the known modules that an import names: of ``from a import b`` ``a.b``, or ``a`` where b is no module."""
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names if one.name in known)
    elif isinstance(node, ast.ImportFrom):
        above = module.name.split(".")
        outer = above[: len(above) - node.level + (module.path.stem == "__init__")] if node.level else []
        base = ".".join([*outer, *filter(None, [node.module])])
        found = (inner if (inner := f"{base}.{one.name}") in known else base for one in node.names)
        yield from (one for one in found if one in known)


def package_of(name: str) -> str:
    """Return the part of maker that a module belongs to; decomposers and voters are one part each."""
    return ".".join(name.split(".")[: 2 if name.startswith("maker.") else 1])


def circles(graph: Graph, unit: Callable[[str], str] = str) -> list[set[str]]:
    """Return the groups of modules, or of their units, that import one another in a circle.

    The package ``maker`` itself only lists what its parts export, and counts for nothing.
    """
    joined: defaultdict[str, set[str]] = defaultdict(set)
    for name, others in graph.items():
        joined[unit(name)].update(unit(other) for other in others)
    joined.pop("maker", None)
    reached = {name: _reached(name, joined) for name in joined}
    found = {frozenset(other for other in reached[name] if name in reached.get(other, ())) for name in joined}
    return [set(group) for group in found if len(group) > 1]


def _reached(start: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        for other in graph.get(ahead.pop(), ()):
            if other not in found:
                found.add(other)
                ahead.append(other)
    return found


def functions(tree: ast.Module) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Return the lines of a function, without its docstring."""
    first = function.body[0]
    docstring = ast.get_docstring(function, clean=False) is not None
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return lines - ((first.end_lineno or first.lineno) - first.lineno + 1 if docstring else 0)


def public(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | Function]:
    """Yield the public definitions of a module and of its public classes."""
    for one in node.body:
        if isinstance(one, ast.ClassDef | Function) and not one.name.startswith("_"):
            yield one
            if isinstance(one, ast.ClassDef):
                yield from public(one)


def comments(text: str) -> int:
    """Count the lines with a comment for a reader."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(one.type == tokenize.COMMENT and not PRAGMA.match(one.string) for one in tokens)


def prose(root: Path) -> list[str]:
    """Return the words of README and docs, in small letters."""
    files = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [word for file in files for word in words(file)]


def words(file: Path) -> list[str]:
    """Return the words of a document, none where there is no such file."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return WORD.findall(NO_PROSE.sub(" ", text).lower())


def figures(root: Path) -> dict[str, str]:
    """Return each figure of a checkout by its name."""
    code = modules(root)
    graph = imports(code)
    all_functions = [one for module in code for one in functions(module.tree)]
    long = sum(length(one) > LONG_FUNCTION for one in all_functions)
    longest = max(code, key=lambda module: module.lines)
    definitions = [one for module in code for one in public(module.tree)]
    documented = sum(ast.get_docstring(one) is not None for one in definitions)
    lines = sum(module.lines for module in code)
    said = Counter(told := prose(root))
    return {
        "files": f"{len(code):,}",
        "lines": f"{lines:,}",
        "fullest flat folder": fullest(code),
        "layers in the import contract": layers(root),
        "import circles between packages": str(len(circles(graph, package_of))),
        "import circles between modules": str(len(circles(graph))),
        f"functions over {LONG_FUNCTION} lines": f"{long} of {len(all_functions):,}",
        "longest file": f"{longest.lines:,} ({longest.path})",
        "public definitions with a docstring": f"{documented / len(definitions):.1%}",
        "comments per 1,000 lines": f"{1000 * sum(comments(module.text) for module in code) / lines:.1f}",
        f"words of {ARCHITECTURE}": f"{len(words(root / ARCHITECTURE)):,}",
        "words of README and docs": f"{len(told):,}",
        '"you" per 1,000 words of them': f"{1000 * said['you'] / len(told):.1f}",
        '"that", "which" per 1,000 words': f"{1000 * (said['that'] + said['which']) / len(told):.1f}",
    }


def main() -> int:
    """Print the figures; 1 where packages import one another in a circle."""
    parser = make_parser(__doc__)
    parser.add_argument("path", type=Path, nargs="?", default=ROOT, help="of the checkout; this one by default")
    parser.add_argument("--against", type=Path, help="another checkout, whose figures stand in front")
    options = read_options(parser)
    given = [one for one in (options.against, options.path) if one is not None]
    columns = [figures(one.resolve()) for one in given]
    rows = [(name, *(column[name] for column in columns)) for name in columns[-1]]
    table("structure", ("", *(str(one) for one in given)), rows)
    found = circles(imports(modules(options.path.resolve())), package_of)
    for circle in found:
        print(f"  circle: {', '.join(sorted(circle))}")
    return int(bool(found) and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
