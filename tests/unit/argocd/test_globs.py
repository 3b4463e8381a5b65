"""Globs as Argo CD matches them.

Covered: the syntax of both versions of gobwas/glob, what each refuses, the faults of v0.2.3 that
decide in Argo CD before 3.6 (values from the library itself), namespaces by glob and by regular
expression, which entries name one thing only.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_argo_rescue.argocd import globs
from kubectl_argo_rescue.argocd.gobwas import GlobError, GlobPanic
from kubectl_argo_rescue.model.values import Version

OLD = Version(3, 5, "v3.5.7")
NEW = Version(3, 6, "v3.6.1")
BOTH = pytest.mark.parametrize("version", [OLD, NEW, None], ids=["0.2.3", "1.0.0", "newest"])


@BOTH
@pytest.mark.parametrize(
    ("pattern", "texts", "others"),
    [
        ("traefik", ["traefik"], ["traefik2", "xtraefik", ""]),
        ("*", ["", "a", "a/b"], []),
        ("**", ["", "a/b"], []),
        ("***", ["", "a"], []),
        ("test-*", ["test-app", "test-", "test-a/b"], ["test", "xtest-app"]),
        ("*-app", ["test-app", "-app"], ["app"]),
        ("*web*", ["web", "my-web-2"], ["wbe"]),
        ("a*c*e", ["abcde", "ace"], ["abcd", "ac"]),
        ("a*bc*de*f", ["a1bc2de3f", "abcdef"], ["abcdf"]),
        ("?at", ["cat"], ["at", "chat"]),
        ("a?c?", ["abcd"], ["abc", "abbcd"]),
        ("??*", ["ab", "abc"], ["a"]),
        ("*??", ["ab", "abc"], ["a"]),
        ("[ab]x", ["ax", "bx"], ["cx", "abx"]),
        ("[a]x", ["ax"], ["bx"]),
        ("[!ab]x", ["cx"], ["ax"]),
        ("[a-c]x", ["bx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["bx"]),
        ("*[0-9]", ["app1"], ["app"]),
        ("*[!0-9]*", ["1a1"], ["11"]),
        ("[^a]x", ["^x", "ax"], ["bx"]),
        ("[-a]x", ["-x", "ax"], ["bx"]),
        ("[ab-d]x", ["-x", "dx"], ["cx"]),
        (r"[a\]]x", ["]x"], ["\\x"]),
        ("{a,b}-app", ["a-app", "b-app"], ["c-app", "a"]),
        ("app{,-canary}", ["app", "app-canary"], ["app-"]),
        ("{web,api}-*", ["web-1", "api-"], ["web", "db-1"]),
        ("*-{dev,prod}", ["a-dev", "a-prod"], ["a-test"]),
        ("*{-prod,-production}*", ["a-prod", "a-production-b"], ["a-pro"]),
        ("{a,{b,c}}x", ["ax", "cx"], ["dx"]),
        ("{a*,b?}", ["axx", "bx"], ["b"]),
        ("{abc,abx}", ["abc", "abx"], ["ab"]),
        ("{pre-a,pre-b}-post", ["pre-a-post"], ["pre-c-post"]),
        ("{a-x,b-x}", ["b-x"], ["b-y"]),
        ("{a,a}b", ["ab"], ["aab"]),
        ("{a}", ["a"], ["b"]),
        (r"\*\{", ["*{"], ["a{"]),
        ("a,b}", ["a,b}"], ["a"]),
        ("https://*.example.com", ["https://a.b.example.com"], ["https://example.com"]),
        ("é*", ["école"], ["e"]),
    ],
)  # fmt: skip
def test_match(pattern: str, texts: list[str], others: list[str], version: Version | None) -> None:
    assert [text for text in texts if not globs.match(pattern, text, version)] == []
    assert [text for text in others if globs.match(pattern, text, version)] == []


@BOTH
@pytest.mark.parametrize("pattern", ["[abc", "[]a]", "[!]", "[b-a]", "[a-", "[a-bc]", "e[[a*", "["])
def test_both_refuse(pattern: str, version: Version | None) -> None:
    assert not globs.match(pattern, pattern, version)
    with pytest.raises(GlobError):
        globs.compile(pattern, is_strict=version is not OLD)


@pytest.mark.parametrize(
    ("pattern", "text", "old", "new"),
    [
        ("prod-*-prod", "prod-prod", True, False),
        ("a*ab", "ab", True, False),
        ("ab*ba", "aba", True, False),
        ("[!ab][!ab]", "ba", True, False),
        ("[!a][!a]", "bb", True, True),
        ("x{a*b*c,d}*", "xabc", False, True),
        ("?", "", True, False),
        ("[!a]", "", True, False),
        ("{a", "a", True, False),
        ("a\\", "a", True, False),
        ("a\\", "a\\", False, False),
        ("\ufffd", "\ufffd", False, True),
        ("é?", "éx", False, True),
    ],
)
def test_where_the_two_differ(pattern: str, text: str, old: bool, new: bool) -> None:
    assert (globs.match(pattern, text, OLD), globs.match(pattern, text, NEW)) == (old, new)


# Found by search for what takes another way through the rewriting and the matchers; the values are
# the library's own (tests/oracle compares thousands more).
FAULTY = [
    ("-?{é,-,{}a}?", "a/aba", False), ("{,*,prodab}ab?", "ccb", False),
    ("{aba-b{***{,a,}},[ab]}", "", False), ("***{", "/", False), ("-?{a{éé?x,}****}", "bbbab", False),
    ("{x,?,}b", "bprod", False), ("prod**bé", "aprodéaabc", False), ("{,,{{]é}x,}!ab}***x", "", False),
    (r"?{,*éprod?}[a\]]é", "é", False), ("x**{a,{*,,-***},ab}", "xééb", True), ("?[!a]", "xab", False),
    ("{prod***,}***é", "-bprod-c", False), ("{x*,x}", "éc/x/x", False),
    ("{?**a}ab**", "xababéxprod", False), ("prod{a-b?***}{*a{x}}", "abababc", False),
    ("{,b**}**", "abb/éprodc", True), (r"?[a\]]**", "cbébaé", False), ("***x***é", "baé-a/", False),
    ("*{*}{*,*a,}", "x", True), ("[ab]", "éabcab", False), (r"*{*ab,**{}{xx,\{b},}", "bxé/", False),
    ("{x?é-,abx*,}*?", "-", True), ("{}-***", "abprodéprodé", False), ("prod*[a]*", "/ababcé", False),
    ("{**[!a-c]{**!}}", "c-xprodc", False), ("?{*a,abx,*ab*}-", "c-xb/ab", False),
    ("{***,*{**}é}{}[!a-c]*", "aba", False), ("{[!ab]***,}b***", "prodéprod-/x", False),
    ("*{??}", "prodbax", True), ("{,[!a]]***]}prod[-a]", "aabaprodaab", False),
    ("?{ab,}[ab]", "prod", False), ("{[-a]{a-bx***}*", "abb", False), ("{***,é***}-", "ccabx", False),
    ("**{*{,*x}}a", "bprodaba", True), (r"**{-,[a\]]é}?", "-babx", False), ("-*[!a-c]**", "é", False),
    ("***{***?,aba-}***", "ababbaa", True), ("?{-{,-prod}prod}*ab", "bc-prodab", False),
    ("**?prod", "prodab", False), ("{,,{?,,x}**}", "abéa--ab", True), ("{ab,{*x,x{,}},}*****", "", False),
    ("**{***é*}{,*-****}a-b", "prodaxc", False), ("prod*b{**}", "prod/", False),
    (r"**?{,[a\]]?,*é}", "abprod-/abx", True), ("{{*a*b,},***}***", "/prodécb/", True),
    ("[a]{*****prod}b", "c", False), ("{,,ab***[é]}*", "aprodx/x", True), ("?{**a-b}***", "-a-x", False),
    (r"éab*{é***,[a\]]?**}", "-cax", False), ("x{}{{?,prod},,}", "a/abprod-prod", False),
    ("?*{{,**?{b}},*}[!a-c]", "é-b", False), ("***{{é-}*prod}", "cbab", False),
    ("*{{b,}!}{?*a,[a-c]**}", "", False), ("{{abab?}xb**}", "/abxprod/é", False),
    ("{*,-***x,x}*", "c-", True), ("{-[!a]***,a**,?a?}**", "abxéxbab", True),
    ("??{a-b,}", "aba--cb", False), (r"*{,,\{}**{,prod,é}", "cbx", True),
    ("?{?[ab-]?}x{,?}", "-é-/aa", False), (r"{*?,,}?{é[a\]],éab}", "éaxc-", False),
    ("{***-}[a-c]", "prodcab-x", False), ("?{,***x*,a-b}**", "cxbabé", True),
    ("{prod***prod,b,-*}***", "prodac/b/", True), ("***?{??,}", "-cab", True),
    ("*{x*******}*****", "cxprod", True), ("{a-b**-a}{,}?***", "/prod-x/a", False),
    ("?prod{ab**}a-b", "xc/ab", False), ("?{?**?,??}", "xab", False), ("?*{**b*}***", "/-c", False),
    ("{**{a*}}", "babprod", True), ("{}{-éab,***bprod***}??", "éxa", False), ("{?,[-a]}**", "c", True),
    ("**{*xprod***}", "xprodprodc", True), ("{prod***bab}**", "aab/x/", False),
    ("?***{*b*,?,prod-}***", "bb", True), ("{??}x**", "axabxab-", False),
    ("{??}[!a-c]", "prodabbaéb", False), ("[!ab][!ab]*", "xabéaé", False),
    ("{*?{},-}b[a-c]{,,a-b-}", "éprodbabab", False),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text", "is_match"), FAULTY)
def test_old_library_by_example(pattern: str, text: str, is_match: bool) -> None:
    assert globs.match(pattern, text, OLD) is is_match


def test_panic_of_the_old_one_is_no_match() -> None:
    for pattern, text in (("web{}", "web"), ("?{***a,}***", "/bxprodprodb")):
        with pytest.raises(GlobPanic):
            globs.compile(pattern, is_strict=False)(text)
    assert not globs.match("web{}", "web", OLD)
    assert globs.match("web{}", "web", NEW)


PIECES = st.lists(st.sampled_from(["a", "b", "-", "*", "?", "[ab]", "[!a]", "{a,b}", "{a*,}"]), max_size=6)


@given(PIECES.map("".join), st.text("ab-", max_size=6))
def test_old_and_new_agree_on_text_of_ordinary_length(pattern: str, text: str) -> None:
    """No crash but the known one; a star in front of everything matches no less."""
    globs.match(pattern, text, OLD)
    if globs.match(pattern, text, NEW):
        assert globs.match("*" + pattern, text, NEW)
        assert globs.match(f"{{{pattern},zzz}}", text, NEW)


@pytest.mark.parametrize("pattern", ["traefik", "a-b.c", "a,b", "!a", "", "é"])
def test_literal(pattern: str) -> None:
    assert globs.is_literal(pattern)


@pytest.mark.parametrize("pattern", ["*", "a?", "[a]", "{a}", "a\\", "a]", "}"])
def test_not_literal(pattern: str) -> None:
    assert not globs.is_literal(pattern)


@pytest.mark.parametrize(
    ("entry", "namespace", "is_in"),
    [
        ("team-a", "team-a", True),
        ("team-*", "team-a", True),
        ("/^team-[ab]$/", "team-b", True),
        ("/^team-[ab]$/", "team-c", False),
        ("/am-/", "team-c", True),
        (r"/^((?!kube).)*$/", "team", True),
        (r"/^((?!kube).)*$/", "kube-system", False),
        (r"/(?<x>team)-\k<x>/", "team", False),
        (r"/\Ateam\z/", "team", True),
        (r"/(?<!x)team\Z/", "team", True),
        ("/(/", "(", False),
        ("/", "/", True),
        ("", "", True),
    ],
)
def test_list_of_namespaces(entry: str, namespace: str, is_in: bool) -> None:
    assert globs.match_list(["nothing", entry], namespace) is is_in


def test_empty_regular_expression() -> None:
    assert globs.match_list(["//"], "team", OLD)
    assert not globs.match_list(["//"], "team", NEW)
    assert not globs.match_list(["/"], "team", OLD)


def test_regular_expressions_came_with_2_12() -> None:
    assert not globs.match_list(["/team/"], "team", Version(2, 11, "v2.11.0"))


def test_argo_cds_own_namespace_needs_no_entry() -> None:
    assert globs.is_app_namespace_allowed("argocd", "argocd", [])
    assert not globs.is_app_namespace_allowed("", "argocd", [])
    assert not globs.is_app_namespace_allowed("team", "argocd", ["other"])
    assert globs.is_app_namespace_permitted("argocd", "argocd", [])
    assert globs.is_app_namespace_permitted("", "argocd", [])
    assert globs.is_app_namespace_permitted("team", "argocd", ["tea*"])
    assert not globs.is_app_namespace_permitted("team", "argocd", [])
