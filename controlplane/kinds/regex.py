"""Is a regular expression one of RE2's, Envoy's and Istio's engine?

A pattern that RE2 refuses would be refused by every proxy at once, so it is told when it is read.
RE2 itself is not here: what it lacks is found by name, what only it has is put into Python's
words, and Python's parser judges the rest. https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import re
import warnings

MAX_REPEAT = 1000

_LACKING = (
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "look-around"),
    (re.compile(r"\(\?>|[*+?}]\+"), "possessive or atomic matching"),
    (re.compile(r"\\[1-9]|\(\?P="), "back-references"),
    (re.compile(r"\(\?\("), "conditions"),
    (re.compile(r"\(\?#"), "comments"),
    (re.compile(r"\\Z"), r"\Z (use \z)"),
    (re.compile(r"\\[uUN]"), r"\u, \U and \N (use \x{...})"),
)
_ONLY_RE2 = (
    (re.compile(r"\\[pP](?:\{\^?\w+\}|\w)"), r"\\w"),
    (re.compile(r"\\z"), r"\\Z"),
    (re.compile(r"\\C"), "."),
    (re.compile(r"\(\?<(?=\w)"), "(?P<"),
    (re.compile(r"\(\?[imsU]+(?:-[imsU]+)?\)|\(\?-[imsU]+\)"), ""),
    (re.compile(r"\(\?[imsU]*(?:-[imsU]+)?:"), "(?:"),
)
_ESCAPED = re.compile(r"\\\\|\\[\[\](){}*+?.|^$/-]")
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|\Z)", re.DOTALL)
_NAMED_CLASS = re.compile(r"\[:\^?\w+:\]")
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def fault_of(pattern: str) -> str:
    """What is wrong with `pattern`, or ''."""
    plain = _NAMED_CLASS.sub("a", _ESCAPED.sub("a", _QUOTED.sub("a", pattern)))
    outside = _CLASS.sub("a", plain)
    for lacking, name in _LACKING:
        if lacking.search(outside):
            return f"{pattern!r} uses {name}, which RE2 does not have"
    for repeat in _REPEAT.finditer(outside):
        if any(len(text) > 4 or int(text) > MAX_REPEAT for text in repeat.groups() if text):
            return f"{pattern!r} repeats more than {MAX_REPEAT} times"
    return _python_fault(plain)


def _python_fault(plain: str) -> str:
    for only, word in _ONLY_RE2:
        plain = only.sub(word, plain)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(plain)
    except (re.error, OverflowError, RecursionError) as error:
        return f"not a regular expression: {error}"
    return ""
