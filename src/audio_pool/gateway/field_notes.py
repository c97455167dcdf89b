"""What the sources say of a struct's fields: the text beneath each, for the OpenAPI document.

Owns: reading it.
Must not know: the document.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap

__all__ = ["notes_of"]


def notes_of(cls: type) -> dict[str, str]:
    """Return the text beneath each field of a class and its bases, by name; what cannot be read is left out.

    A class that was made of another's fields names that one as ``told_by``.
    """
    found: dict[str, str] = {}
    for one in reversed(getattr(cls, "told_by", cls).__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = getattr(tree.body[0], "body", [])
        for field, beneath in itertools.pairwise(body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(beneath, ast.Expr) and isinstance(beneath.value, ast.Constant):
                text = beneath.value.value
                if isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found
