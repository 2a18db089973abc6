"""The tables of tests/README.md name tests that exist, and say which of them run in `make soak` only."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`( \(slow\))?")
HEAD = "| what comes in | tests |"


def rows():
    """Rows of the tables, without their heads."""
    lines = (TESTS / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and line != HEAD]


def slow_by_name(file):
    """By name of each test of a file whether it is marked slow as a whole."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    all_slow = any(
        isinstance(node, ast.Assign) and "pytestmark = pytest.mark.slow" in ast.unparse(node) for node in tree.body
    )
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        test.name: all_slow or any(ast.unparse(mark) == "pytest.mark.slow" for mark in test.decorator_list)
        for test in tests
    }


def test_every_promise_names_tests_that_exist_and_says_which_are_slow():
    files = {}
    for row in rows():
        tests = NAMED.findall(row)
        assert tests, row
        for file, name, slow in tests:
            if file not in files:
                files[file] = slow_by_name(file)
            assert name in files[file], f"tests/README.md: there is no {file}::{name}"
            assert files[file][name] == bool(slow), f"tests/README.md: is {file}::{name} slow?"


def test_no_promise_is_listed_twice():
    promises = [row.split("|")[1].strip() for row in rows()]
    assert len(promises) == len(set(promises))
    assert len(promises) > 30
