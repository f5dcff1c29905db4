"""The mutants of a module: which of cosmic-ray's changes are made, and where."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

# One or two changes of each operator of the language: cosmic-ray has up to eleven, which are noticed or not together.
_CHANGES: Final = {
    "ReplaceBinaryOperator_{}": (
        "Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "Div_Mul", "Div_FloorDiv", "FloorDiv_Div", "FloorDiv_Mul",
        "Mod_Mul", "Pow_Mul", "LShift_RShift", "RShift_LShift", "BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr",
    ),
    "ReplaceComparisonOperator_{}": (
        "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
        "Is_IsNot", "IsNot_Is",
    ),
    "ReplaceUnaryOperator_{}": ("Delete_Not", "Delete_Invert", "Delete_USub"),
    "{}": (
        "AddNot", "NumberReplacer", "RemoveDecorator", "ReplaceAndWithOr", "ReplaceOrWithAnd",
        "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceFalseWithTrue",
        "ReplaceTrueWithFalse", "ZeroIterationForLoop",
    ),
}  # fmt: skip
OPERATORS: Final = tuple("core/" + form.format(one) for form, names in _CHANGES.items() for one in names)

# Arguments that check or protect, and change nothing where all is right
_GUARDS: Final = ("strict", "frozen", "slots", "eq")
# Decorators that change how fast something is, or to which part its wall time is booked, and no result
_NO_RESULT: Final = ("njit", "merged", "inlined", "borrowing", "cache", "cached_property", "abstractmethod", "override")


@dataclass(frozen=True)
class Mutant:
    """A change of one place of a module; line: of the place, before and after it; definition: the function."""

    module: str
    operator: str
    occurrence: int
    line: int
    definition: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """What a person calls it, and the list of explained survivors: stable when other lines of the file change."""
        return f"{self.module} | {self.definition} | {self.before} -> {self.after}"

    def source(self, text: str) -> str:
        """Return the changed text of the module."""
        found = mutate_code(text, get_operator(self.operator)(), self.occurrence)
        assert found is not None
        return str(found)


def mutants_of(root: Path, module: str) -> list[Mutant]:
    """Return all mutants of a module; places that no run reads are left out: annotations, and imports for them."""
    text = (root / module).read_text(encoding="utf-8")
    skipped, tree = list(_unread(ast.parse(text))), get_ast(text)
    found = []
    for operator_name in OPERATORS:
        operator: Any = get_operator(operator_name)()
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(places):
            if any(low <= start and end <= high for low, high in skipped):
                continue
            changed = mutate_code(text, operator, occurrence)
            if changed is None or _decorates_no_result(operator_name, text, start[0]):
                continue
            before, after = _difference(text, changed)
            where = _definition(ast.parse(text), start[0])
            found.append(Mutant(module, operator_name, occurrence, start[0], where, before, after))
    return sorted(found, key=lambda one: (one.line, one.operator, one.occurrence))


def _unread(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(tree):
        parts: list[ast.expr | ast.stmt | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            parts.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            parts.append(node.returns)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            parts.append(node)
        elif isinstance(node, ast.keyword) and node.arg in _GUARDS:
            parts.append(node.value)
        for part in parts:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0)


def _decorates_no_result(operator: str, text: str, line: int) -> bool:
    decorator = text.splitlines()[line - 1].strip().lstrip("@").partition("(")[0]
    return operator == "core/RemoveDecorator" and (decorator in _NO_RESULT or decorator.isupper())


def _definition(tree: ast.Module, line: int) -> str:
    """Return the innermost function or class of a line, with what it lies in; `module` outside all of them."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first <= line <= (node.end_lineno or 0):
                names.append((first, node.name))
    return ".".join(name for _, name in sorted(names)) or "module"


def _difference(before: str, after: str) -> tuple[str, str]:
    """Return the lines that differ, without indentation, joined by spaces."""
    old, new = before.splitlines(), after.splitlines()
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return (
        " ".join(line.strip() for line in old[head : len(old) - tail]),
        " ".join(line.strip() for line in new[head : len(new) - tail]),
    )
