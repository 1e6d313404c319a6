"""How the package is built: rooms, imports between them, circles, long functions. Run it in any checkout.

python benchmarks/structure.py [FOLDER OF THE PACKAGE]
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES, MAX_PARAMETERS = 60, 7


def modules(root: Path) -> dict[str, ast.Module]:
    """Module name -> its syntax tree."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


def imports(trees: dict[str, ast.Module], *, typing: bool = False) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports; those for type checkers only if asked for."""
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        skipped = set() if typing else {id(one) for one in _type_checking(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    target = full if full in trees else node.module
                    if target in trees and target != name:
                        found.setdefault(name, set()).add(target)
    return found


def _type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                yield from ast.walk(statement)


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected groups of more than one module (packages' own re-exports apart)."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen, todo = set(), [start]
        while todo:
            for target in edges.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        reach[start] = seen
    groups: list[set[str]] = []
    for name in edges:
        group = {other for other in reach[name] if name in reach.get(other, ())} | {name}
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups


def functions(trees: dict[str, ast.Module]) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its place."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{name}:{node.lineno} {node.name}", node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of parameters, `self` and `cls` apart."""
    of = function.args
    names = [one.arg for one in (*of.posonlyargs, *of.args, *of.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def main(root: Path) -> None:
    """Print the table, then what is over the limits."""
    trees = modules(root)
    edges = imports(trees)
    lines = sum(path.read_text("utf-8").count("\n") for path in root.rglob("*.py"))
    rooms = {path.parent for path in root.rglob("*.py")}
    top = {
        (a.split(".")[1], b.split(".")[1])
        for a, targets in edges.items()
        for b in targets
        if a.count(".") and b.count(".") and a.split(".")[1] != b.split(".")[1]
    }
    back = {(a, b) for a, b in top if (b, a) in top}
    loops = [group for group in circles(edges) if not any(f"{name}." in "".join(group) for name in group)]
    commands = {where for where, _ in functions(trees) if f"{root.name}.cli." in where}
    long = [(node.end_lineno or 0) - node.lineno + 1 for _, node in functions(trees)]
    wide = [(where, parameters(node)) for where, node in functions(trees) if where not in commands]
    print(f"rooms (folders)                  {len(rooms)}")
    print(f"files / lines                    {len(trees)} / {lines}")
    print(f"arrows between top-level rooms   {len(top)}, of them both ways {len(back) // 2}")
    print(f"circles of modules               {len(loops)}")
    print(f"functions                        {len(long)}, over {MAX_LINES} lines: {sum(n > MAX_LINES for n in long)}")
    print(f"over {MAX_PARAMETERS} parameters (cli apart)    {sum(n > MAX_PARAMETERS for _, n in wide)}")
    for group in loops:
        print("circle:", ", ".join(sorted(group)))
    for where, node in functions(trees):
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_LINES:
            print(f"{length:4} lines       {where}")
    for where, n in wide:
        if n > MAX_PARAMETERS:
            print(f"{n:4} parameters  {where}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "vast_cli")
