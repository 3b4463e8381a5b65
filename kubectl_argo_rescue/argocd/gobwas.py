"""gobwas/glob as Argo CD has it: the syntax of both its versions, and the matchers of v0.2.3.

Why a port of v0.2.3 and not a translation to `re`: it compiles a pattern into matchers that are
wrong for patterns that people do write, and Argo CD before 3.6 decides with them. `prod-*-prod`
matches `prod-prod`, because prefix and suffix may overlap; `[!ab][!ab]` matches `ba`;
`x{a*b*c,d}*` never matches by its first alternative; `?` matches the empty text. Which matchers a
pattern gets depends on the library's own rewriting of it, so that is here as well. All is done on
UTF-8 bytes, because it mixes up bytes and runes beyond ASCII. v1.0.0 was written anew and matches
what its documentation says (see globs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Protocol, TypeAlias

from msgspec import Struct, field


class GlobError(ValueError):
    """No pattern: gobwas refuses it, and for Argo CD it then matches nothing."""


class GlobPanic(ValueError):
    """gobwas v0.2.3 panics while matching (`web{}`): Argo CD's controller never reconciles the app."""


# --- syntax: syntax/lexer/lexer.go, syntax/ast/parser.go


class Kind(Enum):
    """What a node of a pattern's tree is."""

    NOTHING = "nothing"
    PATTERN = "pattern"
    LIST = "list"
    RANGE = "range"
    TEXT = "text"
    ANY = "any"
    SUPER = "super"
    SINGLE = "single"
    ANY_OF = "any of"


class Node(Struct, eq=False):
    """A piece of a pattern."""

    kind: Kind
    text: str = ""
    """TEXT: the text; LIST: its characters; RANGE: the lower and the upper one."""
    is_not: bool = False
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; what they stand in is another matter."""
        return isinstance(other, Node) and all(
            getattr(self, name) == getattr(other, name) for name in ("kind", "text", "is_not", "children")
        )

    __ne__ = object.__ne__  # a Struct's own does not ask `==`

    def add(self, child: Node) -> Node:
        """Append a child and return it."""
        child.parent = self
        self.children.append(child)
        return child


def parse(pattern: str, *, is_strict: bool) -> Node:
    """Read a pattern into a tree.

    Args:
        pattern: the glob.
        is_strict: as v1.0.0 does, which refuses an unclosed `{` and a backslash at the end; v0.2.3
            takes them, but refuses U+FFFD. (Its muddle with NUL is not mirrored.)

    Raises:
        GlobError: gobwas refuses it (`[abc`, `[]a]`).

    gobwas/glob: syntax/lexer.go, parse.go; v0.2.3: syntax/lexer/lexer.go, syntax/ast/parser.go
    """
    if not is_strict and "\ufffd" in pattern:
        raise GlobError("could not read rune")
    return _Parser(pattern, is_strict).tree()


class _Parser:
    def __init__(self, pattern: str, is_strict: bool) -> None:
        self.text = pattern
        self.is_strict = is_strict
        self.at = 0

    def tree(self) -> Node:
        root = node = Node(Kind.PATTERN)
        depth = 0
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == "{":
                depth += 1
                node = node.add(Node(Kind.ANY_OF)).add(Node(Kind.PATTERN))
            elif char == "," and depth:
                node = _parent(node).add(Node(Kind.PATTERN))
            elif char == "}" and depth:
                depth -= 1
                node = _parent(_parent(node))
            elif char == "[":
                node.add(self._class())
            elif char == "?":
                node.add(Node(Kind.SINGLE))
            elif char == "*":
                # The two match the same without separators but are rewritten as different ones.
                is_super = self.text[self.at : self.at + 1] == "*"
                self.at += is_super
                node.add(Node(Kind.SUPER if is_super else Kind.ANY))
            else:
                self.at -= 1
                if text := self._text("?*[{},"[: 6 if depth else 4]):
                    node.add(Node(Kind.TEXT, text))
        if depth and self.is_strict:
            raise GlobError("unclosed `{`")
        return root

    def _read(self) -> str:
        if self.at == len(self.text):
            raise GlobError("unexpected end of input")
        self.at += 1
        return self.text[self.at - 1]

    def _class(self) -> Node:
        char = self._read()
        if is_not := char == "!":
            char = self._read()
        if self.text[self.at : self.at + 1] == "-":
            self.at += 1
            low, high = char, self._read()
            if self._read() != "]":
                raise GlobError("expected close range character")
            if high < low:
                raise GlobError(f"hi character '{high}' should be greater than lo '{low}'")
            return Node(Kind.RANGE, low + high, is_not)
        self.at -= 1
        chars = self._text("]")
        if self._read() != "]":  # pragma: no cover - the text ends there, or at the end of input
            raise GlobError("expected close range character")
        if not chars:
            raise GlobError("could not parse range")
        return Node(Kind.LIST, chars, is_not)

    def _text(self, breakers: str) -> str:
        out = []
        is_escaped = False
        while self.at < len(self.text):
            char = self.text[self.at]
            if not is_escaped and char in breakers:
                break
            self.at += 1
            is_escaped = char == "\\" and not is_escaped
            if not is_escaped:
                out.append(char)
        if is_escaped and self.is_strict:
            raise GlobError("trailing backslash")
        return "".join(out)


def _parent(node: Node) -> Node:
    assert node.parent  # braces are counted
    return node.parent


# --- matchers: match/*.go

_Found: TypeAlias = "tuple[int, list[int]]"
_NOWHERE: Final[_Found] = (-1, [])
_RUNE_ERROR: Final = 0xFFFD


def _decode(text: bytes, at: int) -> tuple[int, int]:
    """Go: utf8.DecodeRune; the rune and its width."""
    if at >= len(text):
        return _RUNE_ERROR, 0
    lead = text[at]
    if lead < 0x80:
        return lead, 1
    width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    try:
        return ord(text[at : at + width].decode()), width
    except (UnicodeDecodeError, TypeError):
        return _RUNE_ERROR, 1


def _runes(text: bytes) -> list[tuple[int, int]]:
    """Go: `for i, r := range text`."""
    if text.isascii():
        return list(enumerate(text))
    out, at = [], 0
    while at < len(text):
        rune, width = _decode(text, at)
        out.append((at, rune))
        at += width
    return out


def _rune_length(rune: int) -> int:
    return 1 if rune < 0x80 else 2 if rune < 0x800 else 3 if rune < 0x10000 else 4


class Matcher(Protocol):
    """What a pattern compiles into."""

    @property
    def length(self) -> int:
        """In runes; -1 where it varies."""

    def match(self, text: bytes) -> bool:
        """Judge a whole text."""

    def index(self, text: bytes) -> _Found:
        """Find the first place that fits in a text and the lengths it may have there, ascending."""


class _Super(Struct, frozen=True):
    length = -1

    def match(self, text: bytes) -> bool:
        return True

    def index(self, text: bytes) -> _Found:
        return 0, [*(at for at, _ in _runes(text)), len(text)]


class _Nothing(Struct, frozen=True):
    length = 0

    def match(self, text: bytes) -> bool:
        return not text

    def index(self, text: bytes) -> _Found:
        return 0, [0]


class _Text(Struct, frozen=True):
    value: bytes

    @property
    def length(self) -> int:
        return len(self.value.decode())

    def match(self, text: bytes) -> bool:
        return text == self.value

    def index(self, text: bytes) -> _Found:
        at = text.find(self.value)
        return (at, [len(self.value)]) if at >= 0 else _NOWHERE


class _OneRune(Struct, frozen=True):
    """Single, List and Range. The empty text counts as one odd rune, so `?` and `[!a]` match it."""

    allows: Callable[[int], bool]
    excluded: bytes | None
    """What glueing compares: b"" for `?`, the characters of `[!...]`, None for the others."""
    length = 1

    def match(self, text: bytes) -> bool:
        rune, width = _decode(text, 0)
        return len(text) <= width and self.allows(rune)

    def index(self, text: bytes) -> _Found:
        for at, rune in _runes(text):
            if self.allows(rune):
                return at, [_rune_length(rune)]
        return _NOWHERE


class _Min(Struct, frozen=True):
    limit: int
    length = -1

    def match(self, text: bytes) -> bool:
        return len(_runes(text)) >= self.limit

    def index(self, text: bytes) -> _Found:
        ends = [at + _rune_length(rune) for at, rune in _runes(text)][self.limit - 1 :]
        return (0, ends) if ends else _NOWHERE


class _Max(Struct, frozen=True):
    limit: int
    length = -1

    def match(self, text: bytes) -> bool:
        return len(_runes(text)) <= self.limit

    def index(self, text: bytes) -> _Found:
        return 0, [0, *(at + _rune_length(rune) for at, rune in _runes(text)[: self.limit])]


class _Contains(Struct, frozen=True):
    needle: bytes
    is_not: bool
    length = -1

    def match(self, text: bytes) -> bool:
        return (self.needle in text) != self.is_not

    def index(self, text: bytes) -> _Found:
        at, offset = text.find(self.needle), 0
        if not self.is_not:
            if at < 0:
                return _NOWHERE
            offset = at + len(self.needle)
            if len(text) <= offset:
                return 0, [offset]
            text = text[offset:]
        elif at >= 0:
            text = text[:at]
        return 0, [*(offset + at for at, _ in _runes(text)), offset + len(text)]


class _EveryOf(Struct, frozen=True):
    matchers: tuple[Matcher, ...]
    length = -1

    def match(self, text: bytes) -> bool:
        return all(matcher.match(text) for matcher in self.matchers)

    def index(self, text: bytes) -> _Found:
        index = offset = 0
        lengths: list[int] = []
        rest = text
        for place, matcher in enumerate(self.matchers):
            at, found = matcher.index(rest)
            if at < 0:
                return _NOWHERE
            if place == 0:
                lengths = list(found)
            else:
                delta = index - (at + offset)
                lengths = [n for known in lengths for n in found if known + delta == n]
                if not lengths:
                    return _NOWHERE
            index = at + offset
            rest = text[index:]
            offset += at
        return index, lengths


class _Row(Struct, frozen=True):
    matchers: tuple[Matcher, ...]
    length: int

    def match(self, text: bytes) -> bool:
        return len(_runes(text)) == self.length and self._match_all(text)

    def _match_all(self, text: bytes) -> bool:
        at = 0
        for matcher in self.matchers:
            starts = [start for start, _ in _runes(text[at:])]
            if matcher.length:
                starts = starts[: matcher.length]
            last = starts[-1] if starts else 0
            if len(starts) < matcher.length:
                return False
            if at + last + 1 > len(text):
                raise GlobPanic("slice bounds out of range")
            if not matcher.match(text[at : at + last + 1]):
                return False
            at += last + 1
        return True

    def index(self, text: bytes) -> _Found:
        for at, _ in _runes(text):
            if len(text) - at < self.length:
                break
            if self._match_all(text[at:]):
                return at, [self.length]
        return _NOWHERE


class _Tree(Struct, frozen=True):
    """gobwas's BTree: a matcher in the middle, what must match to its left and to its right."""

    value: Matcher
    left: Matcher | None
    right: Matcher | None
    lengths: tuple[int, int, int]
    """Of left, value and right when the tree was made; they stay when a side is optimized."""

    @property
    def length(self) -> int:
        return -1 if -1 in self.lengths else sum(self.lengths)

    def index(self, text: bytes) -> _Found:
        return _NOWHERE  # "todo?" says gobwas, and so a tree inside of alternatives is never found

    def match(self, text: bytes) -> bool:
        if self.length > len(text):
            return False
        offset = max(self.lengths[0], 0)
        limit = len(text) - max(self.lengths[2], 0)
        while offset < limit:
            at, lengths = self.value.index(text[offset:limit])
            if at < 0:
                return False
            at += offset
            if _side(self.left, text[:at]):
                for length in reversed(lengths):
                    if _side(self.right, text[at + length :]):
                        return True
            offset = at + _decode(text, at)[1]
        return False


def _side(matcher: Matcher | None, text: bytes) -> bool:
    return matcher.match(text) if matcher else not text


class _Prefix(Struct, frozen=True):
    prefix: bytes
    length = -1

    def match(self, text: bytes) -> bool:
        return text.startswith(self.prefix)

    def index(self, text: bytes) -> _Found:
        at = text.find(self.prefix)
        if at < 0:
            return _NOWHERE
        size = len(self.prefix)
        ends = (start + _rune_length(rune) for start, rune in _runes(text[at + size :]))
        return at, [size, *(size + end for end in ends)]


class _Suffix(Struct, frozen=True):
    suffix: bytes
    length = -1

    def match(self, text: bytes) -> bool:
        return text.endswith(self.suffix)

    def index(self, text: bytes) -> _Found:
        at = text.find(self.suffix)
        return (0, [at + len(self.suffix)]) if at >= 0 else _NOWHERE


class _PrefixSuffix(Struct, frozen=True):
    prefix: bytes
    suffix: bytes
    length = -1

    def match(self, text: bytes) -> bool:
        return text.startswith(self.prefix) and text.endswith(self.suffix)

    def index(self, text: bytes) -> _Found:
        start = text.find(self.prefix)
        if start < 0:
            return _NOWHERE
        lengths, rest = [], text[start:]
        while (at := rest.rfind(self.suffix)) >= 0:
            lengths.append(at + len(self.suffix))
            rest = rest[:at]
        return (start, lengths[::-1]) if lengths else _NOWHERE


class _AnyOf(Struct, frozen=True):
    matchers: tuple[Matcher, ...]

    @property
    def length(self) -> int:
        # gobwas takes a later fixed length where the first ones vary (match/any_of.go Len).
        length = -1
        for matcher in self.matchers:
            if length == -1:
                length = matcher.length
            elif matcher.length != length:
                return -1
        return length

    def match(self, text: bytes) -> bool:
        return any(matcher.match(text) for matcher in self.matchers)

    def index(self, text: bytes) -> _Found:
        index, lengths = _NOWHERE
        for matcher in self.matchers:
            at, found = matcher.index(text)
            if at < 0 or (index >= 0 and at > index):
                continue
            lengths = sorted({*lengths, *found}) if at == index else found
            index = at
        return index, lengths


# --- compiler: compiler/compiler.go


def compile_faulty(tree: Node) -> Matcher:
    """Compile a parsed pattern as gobwas/glob v0.2.3 does, with all its faults.

    gobwas/glob v0.2.3: compiler/compiler.go Compile
    """
    return _compile(tree)


def _compile(node: Node) -> Matcher:
    if node.kind is Kind.ANY_OF:
        if rewritten := _factor_out(node):
            return _compile(rewritten)
        return _optimize_any_of(_AnyOf(tuple(map(_compile, node.children))))
    if node.kind is Kind.PATTERN:
        if not node.children:
            return _Nothing()
        return _optimize(_join(_minimize(list(map(_compile, node.children)))))
    if node.kind is Kind.TEXT:
        return _Text(node.text.encode(errors="replace"))
    if node.kind is Kind.NOTHING:
        return _Nothing()
    if node.kind is Kind.SINGLE:
        return _OneRune(lambda rune: True, b"")
    if node.kind is Kind.LIST:
        return _compile_list(node.text, node.is_not)
    if node.kind is Kind.RANGE:
        low, high = map(ord, node.text)
        is_not = node.is_not
        return _OneRune(lambda rune: (low <= rune <= high) != is_not, None)
    return _Super()  # ANY, SUPER


def _compile_list(characters: str, is_not: bool) -> Matcher:
    if len(characters) == 1 and not is_not:
        return _Text(characters.encode(errors="replace"))
    runes = frozenset(map(ord, characters))
    excluded = characters.encode(errors="replace") if is_not else None
    return _OneRune(lambda rune: (rune in runes) != is_not, excluded)


def _optimize_any_of(matcher: _AnyOf) -> Matcher:
    return matcher.matchers[0] if len(matcher.matchers) == 1 else matcher


def _optimize(matcher: Matcher) -> Matcher:
    """compiler.go optimizeMatcher, for trees; the rest is done where the matcher is made."""
    if not isinstance(matcher, _Tree):
        return matcher
    value = matcher.value
    left = _optimize(matcher.left) if matcher.left else None
    right = _optimize(matcher.right) if matcher.right else None
    if isinstance(value, _Text):
        text = value.value
        if isinstance(left, _Super) and isinstance(right, _Super):
            return _Contains(text, False)
        if isinstance(left, _Super) and right is None:
            return _Suffix(text)
        if left is None and isinstance(right, _Super):
            return _Prefix(text)
        if left is None and isinstance(right, _Suffix):
            return _PrefixSuffix(text, right.suffix)
        if right is None and isinstance(left, _Prefix):
            return _PrefixSuffix(left.prefix, text)
    return _Tree(value, left, right, matcher.lengths)


def _join(matchers: Sequence[Matcher]) -> Matcher:
    """compiler.go compileMatchers: the longest fixed length becomes the middle of a tree."""
    if len(matchers) == 1:
        return matchers[0]
    if glued := _glue(matchers):
        return glued
    longest = max(matcher.length for matcher in matchers)
    if longest < 0:
        right = _join(matchers[1:])
        return _Tree(matchers[0], None, right, (0, -1, right.length))
    middle = max(at for at, matcher in enumerate(matchers) if matcher.length == longest)
    left = _join(matchers[:middle]) if middle else None
    after = _join(matchers[middle + 1 :]) if middle + 1 < len(matchers) else None
    lengths = (left.length if left else 0, longest, after.length if after else 0)
    return _Tree(matchers[middle], left, after, lengths)


def _glue(matchers: Sequence[Matcher]) -> Matcher | None:
    """compiler.go glueMatchersAsEvery, then glueMatchersAsRow."""
    if len(matchers) < 2:
        return None
    if glued := _glue_every(matchers):
        return glued
    if any(matcher.length == -1 for matcher in matchers):
        return None
    return _Row(tuple(matchers), sum(matcher.length for matcher in matchers))


def _glue_every(matchers: Sequence[Matcher]) -> Matcher | None:
    excluded: set[bytes] = set()
    minimum = 0
    for matcher in matchers:
        if isinstance(matcher, _Super):
            excluded.add(b"")
        elif isinstance(matcher, _OneRune) and matcher.excluded is not None:
            excluded.add(matcher.excluded)
            minimum += 1
        else:
            return None
    if len(excluded) > 1:
        return None
    if minimum == 0:
        return _Super()
    if minimum < len(matchers):
        return _Min(minimum)
    (characters,) = excluded
    parts: list[Matcher] = [_Min(minimum), _Max(minimum)]
    if characters:
        # gobwas asks whether the text holds the characters as one string, not any of them.
        parts.append(_Contains(characters, True))
    return _EveryOf(tuple(parts))


def _minimize(matchers: list[Matcher]) -> list[Matcher]:
    """compiler.go minimizeMatchers: glue the best run of neighbours, as long as there is one."""
    done: Matcher | None = None
    start = end = 0
    for left in range(len(matchers)):
        for right in range(len(matchers), left, -1):
            glued = _glue(matchers[left:right])
            if glued and (done is None or -1 < done.length < glued.length or end - start < right - left):
                done, start, end = glued, left, right
    if done is None:
        return matchers
    return _minimize([*matchers[:start], done, *matchers[end:]])


def _factor_out(any_of: Node) -> Node | None:
    """compiler.go minimizeTreeAnyOf: what all alternatives begin or end with moves in front or behind."""
    if any(child.kind is not Kind.PATTERN for child in any_of.children):
        return None
    left, right = _common([child.children for child in any_of.children])
    if not left and not right:
        return None
    result = Node(Kind.PATTERN)
    if left:
        result.add(Node(Kind.PATTERN, children=left))
    rests: list[Node] = []
    for child in any_of.children:
        inner = child.children[len(left) : len(child.children) - len(right)]
        rest = Node(Kind.PATTERN, children=inner) if inner else Node(Kind.NOTHING)
        if rest not in rests:
            rests.append(rest)
    if len(rests) > 1:
        result.add(Node(Kind.ANY_OF, children=rests))
    elif rests[0].kind is not Kind.NOTHING:
        result.add(rests[0])
    if right:
        result.add(Node(Kind.PATTERN, children=right))
    return result


def _common(branches: list[list[Node]]) -> tuple[list[Node], list[Node]]:
    """compiler.go commonChildren."""
    left: list[Node] = []
    right: list[Node] = []
    if len(branches) < 2:
        return left, right
    shortest = min(branches, key=len)
    size = len(shortest)
    is_left_done = is_right_done = False
    for i, j in zip(range(size), range(size - 1, -1, -1), strict=True):
        if len(left) + len(right) >= size or (is_left_done and is_right_done):
            break
        for branch in branches:
            if branch is shortest:
                continue
            if is_left_done and is_right_done:
                break
            is_left_done = is_left_done or shortest[i] != branch[i]
            is_right_done = is_right_done or (not is_left_done and j <= i)
            is_right_done = is_right_done or shortest[j] != branch[j + len(branch) - size]
        if not is_left_done:
            left.append(shortest[i])
        if not is_right_done:
            right.insert(0, shortest[j])
    return left, right
