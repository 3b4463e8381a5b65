"""No function is longer, or has more ways through it, than can be held in mind.

Covered: 60 lines at most, and what ruff counts as more than 15 ways (C901 of `make lint`), unless a comment
right above a function or in its first lines gives the reason: `# long because: …`; a function loads
submodules by `from`, since several threads call it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import kubectl_argo_rescue

PACKAGE = Path(kubectl_argo_rescue.__file__).parent
MAX_LINES = 60
REASON = "# long because: "


def offenders(text: str) -> Iterator[str]:
    """Yield the functions that are too long or too complex without a reason."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        head = lines[max(start - 2, 0) : node.body[0].lineno + 1]
        is_long = node.end_lineno is not None and node.end_lineno - node.lineno >= MAX_LINES
        if (is_long or any("noqa: C901" in line for line in head)) and REASON not in "\n".join(head):
            yield node.name


def test_functions_are_short_or_say_why_not() -> None:
    found = {
        f"{path.relative_to(PACKAGE).as_posix()} {name}"
        for path in PACKAGE.rglob("*.py")
        for name in offenders(path.read_text("utf-8"))
    }
    assert not found


def test_a_long_function_needs_a_reason() -> None:
    body = "    pass\n" * MAX_LINES
    assert [*offenders(f"def f():\n{body}")] == ["f"]
    assert [*offenders(f"def f():\n{body.removesuffix('    pass' + chr(10))}")] == []
    assert [*offenders(f"# long because: it is a table\ndef f():\n{body}")] == []
    assert [*offenders(f"def f():\n    # long because: it is a table\n{body}")] == []
    assert [*offenders("def f():  # noqa: C901\n    pass\n")] == ["f"]


def dotted_imports(text: str) -> Iterator[str]:
    """Yield the `import a.b` of functions: while another thread loads b, a may lack the name b for a moment."""
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if "." in alias.name and not alias.asname)


def test_no_function_reads_a_submodule_off_a_package_that_another_thread_loads() -> None:
    found = {
        f"{path.relative_to(PACKAGE).as_posix()} {name}"
        for path in PACKAGE.rglob("*.py")
        for name in dotted_imports(path.read_text("utf-8"))
    }
    assert not found
    assert [*dotted_imports("def f():\n    import http.client\n")] == ["http.client"]
