"""Code that somebody edits between two nights."""

import inspect

from monitor import derived


def edit(patch, folder, function, old, new):
    """Edit the text of a function: the source of its module, which is hashed, and what runs, wherever it is called."""
    text, module = inspect.getsource(function), function.__module__
    assert text.count(old) == 1
    edited = text.replace(old, new)
    source = derived._source
    copy = folder / f"{len(list(folder.iterdir()))}-{module}.py"
    copy.write_text(source(module).read_text(encoding="utf-8").replace(text, edited), encoding="utf-8")
    patch.setattr(derived, "_source", lambda name: copy if name == module else source(name))
    patch.setattr(derived, "code_hash", inspect.unwrap(derived.code_hash))  # as in another process
    scope = dict(function.__globals__)
    exec(compile(edited, copy, "exec"), scope)
    patch.setattr(function, "__code__", scope[function.__name__].__code__)
