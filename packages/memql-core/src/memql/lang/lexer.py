"""Text to tokens: one regular expression, linear in the text, never failing (spec "Tokens").

What does not lex becomes an ``ERROR`` token whose value says what is wrong, so that the parser reports it in place.
A word that may be a keyword carries the keyword as ``alt``: the parser takes it where its state accepts it and falls
back to ``kind``. The few decisions that need to see further than that are taken here, see :func:`_word_kinds`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from memql.lang.words import DIRECTIVES, KEYWORDS, LITERALS, RELATIONS

__all__ = ["END", "ERROR", "MAX_DEPTH", "Comment", "Lexed", "Token", "lex"]

MAX_DEPTH = 100
"""How deep brackets, and the tree as a whole, may nest."""

# Keywords that are one only before certain characters; all others are one before anything but `:`, `=` and `:=`.
_LETTER = "letter"
_BEFORE = {
    "args": frozenset({"{"}),
    "body": frozenset({"{"}),
    "when": frozenset({"("}),
    "insert": frozenset({"(", "{", _LETTER}),
    "update": frozenset({"(", "{", _LETTER}),
    "delete": frozenset({"(", "{", _LETTER}),
    "include": frozenset({_LETTER}),
    "not": frozenset({_LETTER}),
}
_WATCHED = KEYWORDS | DIRECTIVES | RELATIONS

_TOKEN = re.compile(
    r"""
    [ \t\r\n\f]*
    (?: (v[0-9]+(?::[A-Za-z_][A-Za-z0-9_]*){2,})                  # 1 concept id
      | ([A-Za-z_][A-Za-z0-9_]*)                                  # 2 word
      | ("[^"\\\n]*(?:\\[^\n][^"\\\n]*)*")                        # 3 string
      | (//[^\n]*|--[^\n]*|/\*.*?\*/)                             # 4 comment
      | (\.[ \t]*[0-9]+)                                          # 5 digit segment
      | ([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?:[A-Za-z0-9_]*))  # 6 number
      | (\$[A-Za-z_][A-Za-z0-9_]*)                                # 7 variable
      | (/\*.*)                                                   # 8 comment without end
      | (:=|\?\?|\?\.|==|!=|>=|<=|&&|\|\||[-+*/%!?:;,.(){}\[\]<>=@])  # 9 sign
      | ("[^\n]*)                                                 # 10 string without end
      | (\Z)                                                      # 11 end
      | (.)                                                       # 12 anything else
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NEXT = re.compile(r"[ \t\r\n\f]*(:=|==|[^ \t\r\n\f])?")
_DATED = re.compile(r"[ \t\r\n\f]*(?:\"|latest\b)")
_SCOPED = re.compile(r"[ \t\r\n\f]*@[ \t\r\n\f]*(?:cache|fields)\b")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

ERROR = "ERROR"
END = "$END"


class Token(NamedTuple):
    """One token. ``value`` is the text, for a STRING decoded, for an ERROR the message."""

    kind: str
    alt: str
    value: str
    start: int
    end: int


class Comment(NamedTuple):
    """A comment as written, with its marks; documentation that belongs to nothing is one too."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Lexed:
    """The tokens, closed by ``$END``; the comments; and the ``///`` lines by the start of the token they precede."""

    tokens: list[Token]
    comments: list[Comment] = field(default_factory=list)
    docs: dict[int, list[Comment]] = field(default_factory=dict)


def lex(text: str) -> Lexed:
    """Cut a text into tokens; never raises, linear in its length."""
    tokens: list[Token] = []
    comments: list[Comment] = []
    docs: dict[int, list[Comment]] = {}
    pending: list[Comment] = []
    depth = last_end = 0
    for match in _TOKEN.finditer(text, 1 if text.startswith("\ufeff") else 0):
        group = match.lastindex or 12
        start, end = match.span(group)
        if group == 4:
            comment = Comment(match[group], start, end)
            is_doc = comment.text.startswith("///") and not comment.text.startswith("////")
            (pending if is_doc else comments).append(comment)
            continue
        if group == 2:
            value = match[2]
            kind, alt = _word_kinds(text, value, end) if value in _WATCHED else ("IDENT", "")
            token = Token(kind, alt, value, start, end)
        elif group == 9:
            sign = match[9]
            alt = ""
            if sign in "([{":
                depth += 1
                if sign != "{" and tokens:
                    alt = _bracket_alt(text, sign, tokens, last_end, start)
            elif sign in ")]}":
                depth = max(0, depth - 1)
            elif sign == "@" and _DATED.match(text, end):
                alt = "_AS_OF"
            token = Token(sign, alt, sign, start, end)
        else:
            token = _other_token(group, match[group], start, end)
        if pending:
            docs[start] = pending
            pending = []
        if depth > MAX_DEPTH:
            tokens.append(Token(ERROR, "", f"brackets are nested deeper than {MAX_DEPTH} levels", start, end))
            tokens.append(Token(END, "", "", end, end))
            break
        tokens.append(token)
        last_end = end
        if group == 11:
            break
    return Lexed(tokens, comments, docs)


def _word_kinds(text: str, word: str, end: int) -> tuple[str, str]:
    """The kind and alternative kind of a word that may be more than a name, from what follows it."""
    match = _NEXT.match(text, end)
    after = (match and match[1]) or ""
    if after in (":=", "=") or (after == ":" and word not in LITERALS):
        return "IDENT", ""
    if word in LITERALS:
        return "IDENT", word
    if after == "(":
        if word in RELATIONS and match and "\n" not in match[0]:
            return "IDENT", "RELATION"
        if word == "asOf" and match and match.end() > end + 1:
            return "DIRECTIVE", word
        if word in DIRECTIVES:
            return "IDENT", "DIRECTIVE"
    if word == "concept" and after == "@" and _SCOPED.match(text, end):
        return "IDENT", "_SCOPED_CONCEPT"
    if word not in KEYWORDS:
        return "IDENT", ""
    allowed = _BEFORE.get(word)
    if allowed is None or after in allowed or (_LETTER in allowed and (after.isalpha() or after == "_")):
        return "IDENT", word
    return "IDENT", ""


def _bracket_alt(text: str, sign: str, tokens: list[Token], last_end: int, start: int) -> str:
    before = tokens[-1]
    if sign == "(" and before.alt == "in" and (len(tokens) < 2 or tokens[-2].kind != "."):
        return "_IN_BRACKET"
    if text.find("\n", last_end, start) >= 0:
        return ""
    return "_CALL" if sign == "(" else "_INDEX"


def _other_token(group: int, value: str, start: int, end: int) -> Token:
    match group:
        case 1:
            return Token("CONCEPT", "", value, start, end)
        case 3:
            return _string_token(value, start, end)
        case 5:
            return Token("DOT_INT", "", value[1:].strip(), start, end)
        case 6:
            return _number_token(value, start, end)
        case 7:
            return Token("VAR", "", value[1:], start, end)
        case 8:
            return Token(ERROR, "", "the comment opened by `/*` is never closed by `*/`", start, end)
        case 10:
            message = 'the string opened here has no closing `"` on its line (write a line break as `\\n`)'
            return Token(ERROR, "", message, start, end)
        case 11:
            return Token(END, "", "", start, end)
        case _:
            return Token(ERROR, "", _stray_character(value), start, end)


def _number_token(value: str, start: int, end: int) -> Token:
    match = _NUMBER.fullmatch(value)
    if match is None:
        return Token(ERROR, "", f"`{_clip(value)}` is no number, and a name does not start with a digit", start, end)
    return Token("FLOAT" if match[1] or match[2] else "INT", "", value, start, end)


def _string_token(raw: str, start: int, end: int) -> Token:
    if "\\" not in raw:
        return Token("STRING", "", raw[1:-1], start, end)
    wrong: list[tuple[str, int]] = []

    def decode(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        if match[2] not in _ESCAPES:
            wrong.append((match[0], match.start()))
            return ""
        return _ESCAPES[match[2]]

    value = _ESCAPE.sub(decode, raw[1:-1])
    if wrong:
        escape, offset = wrong[0]
        at = start + 1 + offset
        message = f'`{escape}` is no escape; there are `\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX`'
        return Token(ERROR, "", message, at, at + len(escape))
    if any("\ud800" <= char <= "\udfff" for char in value):
        try:
            value = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            return Token(ERROR, "", "the string holds half of a surrogate pair", start, end)
    return Token("STRING", "", value, start, end)


def _stray_character(char: str) -> str:
    match char:
        case "'" | "`":
            return f'`{char}` begins nothing; strings stand in double quotes: `"text"`'
        case "&" | "|":
            return f"a single `{char}` is no operator; write `{char}{char}`"
        case "#":
            return "`#` begins nothing; a comment starts with `//`"
        case "$":
            return "`$` must be followed by the name of a variable"
        case _:
            return f"{char!r} has no meaning here"


def _clip(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
