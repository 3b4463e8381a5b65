"""Sync windows against Argo CD's own code, on random projects, apps and instants.

Covered: the four decisions (manual, automatic, each with and without a started operation), their
error text, which windows match and which are active, at any instant and on the untouched code path
at this one; until when a decision stays so; global projects; globs of both libraries, lists of namespaces, schedules with clock
changes, durations, ages.

ARGO_RESCUE_PROPERTY_SIZE is the number of comparisons per test; without it 2,000 are made, and
50,000 where ARGO_RESCUE_TEST_SIZE is full.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kubectl_argo_rescue.argocd import cron, globs, windows
from kubectl_argo_rescue.argocd.foresight import Foresight
from kubectl_argo_rescue.argocd.gobwas import GlobError, GlobPanic
from kubectl_argo_rescue.model import times
from kubectl_argo_rescue.model.values import ArgoCD, Version, parse_version
from tests.testbed import programs

from .windows_oracle import Oracle

SEED = 20261124
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TICK = timedelta(microseconds=1)


# Windows of 2.14 have no description, by which the two sides speak of one.
@pytest.fixture(scope="module", params=[line for line in programs.ARGO if line != "2.14"])
def oracle(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    running = Oracle(request.param)
    yield running
    running.close()


@pytest.fixture
def version(oracle: Oracle) -> Version:
    found = parse_version(programs.ARGO[oracle.argo].version)
    assert found
    return found


@pytest.fixture
def size(is_full_size: bool) -> int:
    return int(os.environ.get("ARGO_RESCUE_PROPERTY_SIZE", 50_000 if is_full_size else 2_000))


@pytest.fixture
def chance() -> random.Random:
    return random.Random(SEED)


def some(chance: random.Random, choices: Sequence[str], most: int = 3) -> list[str]:
    return [chance.choice(choices) for _ in range(chance.choice([0, 1, 1, 2, most]))]


# -- windows

SCHEDULES = (
    "* * * * *", "0 * * * *", "*/5 * * * *", "0 9 * * *", "0 9-17 * * mon-fri", "0 0 * * *", "0 22 * * 5",
    "0 0 1 * *", "0 0 30 2 *", "0 0 */2 * 1", "30 2 * * *", "0 0 1 1 *", "* 10 * * *", "0 0 29 2 *",
    "TZ=Europe/Paris 0 9 * * *",
)  # fmt: skip
BAD_SCHEDULES = ("@daily", "bad", "* * * * 7", "", "TZ=x", "0 0 * *", "60 * * * *")
DURATIONS = ("1h", "24h", "30m", "1m", "8h", "12h", "1h30m", "168h", "90s", "720h", "1.5h", "0s", "2562047h")
BAD_DURATIONS = ("1d", "", "1", "h", "99999999h")
NAMES = ("traefik", "web", "api", "prod-web", "test-app", "prod-prod")
PATTERNS = (
    "*", "t*", "*-app", "{web,api}", "prod-*", "[tw]*", "traefik", "web", "api", "???", "prod-*-prod", "[abc",
    "*web*", "!web", "{,prod-}web", "prod*d",
)  # fmt: skip
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Nope/Nope", "", "Europe", "Local",
    "Australia/Lord_Howe", "US/Eastern", "europe/berlin", "../UTC",
)  # fmt: skip
CHANGES = (
    datetime(2026, 3, 8, 7, tzinfo=timezone.utc),
    datetime(2026, 3, 29, 1, tzinfo=timezone.utc),
    datetime(2026, 10, 25, 1, tzinfo=timezone.utc),
    datetime(2026, 1, 1, tzinfo=timezone.utc),
    datetime(2028, 2, 29, tzinfo=timezone.utc),
)
"""Clocks change, a year begins, a leap day."""


def random_window(chance: random.Random) -> dict[str, Any]:
    odd = chance.random() < 0.05
    window: dict[str, Any] = {
        "kind": chance.choice(["Deny", ""]) if chance.random() < 0.03 else chance.choice(["allow", "deny"]),
        "schedule": chance.choice(BAD_SCHEDULES if odd else SCHEDULES),
        "duration": chance.choice(BAD_DURATIONS if odd and chance.random() < 0.5 else DURATIONS),
    }
    if chance.random() < 0.1:
        window["duration"] = f"-{window['duration']}"
    lists = {
        "applications": some(chance, PATTERNS),
        "namespaces": some(chance, ("default", "kube-*", "*", "prod", "")),
        "clusters": some(
            chance, ("in-cluster", "https://*", "https://kubernetes.default.svc", "*prod*", "*")
        ),
    }
    likely = {"applications": 0.8}
    window |= {name: entries for name, entries in lists.items() if chance.random() < likely.get(name, 0.4)}
    for name, probability in (("manualSync", 0.5), ("andOperator", 0.7), ("syncOverrun", 0.7)):
        if chance.random() < 0.5:
            window[name] = chance.random() < probability
    if chance.random() < 0.5:
        window["timeZone"] = chance.choice(ZONES)
    return window


def random_app(chance: random.Random) -> dict[str, Any]:
    destination = {"namespace": chance.choice(["default", "kube-system", "prod", ""])}
    if chance.random() < 0.5:
        destination["name"] = chance.choice(["in-cluster", "eu-prod-1"])
    else:
        destination["server"] = chance.choice(["https://kubernetes.default.svc", "https://10.0.0.1"])
    return {
        "metadata": {"name": chance.choice(NAMES), "namespace": "argocd"},
        "spec": {"destination": destination},
    }


def random_instant(chance: random.Random) -> datetime:
    if chance.random() < 0.5:
        now = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=chance.randint(0, 10**8))
    else:
        now = chance.choice(CHANGES) + timedelta(minutes=chance.randint(-3000, 3000))
    if chance.random() < 0.2:
        now = now.replace(minute=0, second=0)
    return now + timedelta(microseconds=chance.choice([0, 0, 1, 999_999]))


def random_question(chance: random.Random, op: str, now: datetime) -> dict[str, Any]:
    question = {
        "op": op,
        "windows": [random_window(chance) for _ in range(chance.choice([1, 1, 2, 3, 4]))],
        "app": random_app(chance),
        "now": stamp(now),
    }
    if chance.random() < 0.7:
        ago = chance.choice([30, 300, 1_500, 4_000, 90_000, 1_000_000])
        question["start"] = stamp(now - timedelta(seconds=ago))
    return question


def stamp(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


def instant(text: str) -> datetime:
    head, _, rest = text.rstrip("Z").partition(".")
    fraction = timedelta(microseconds=int(rest.ljust(6, "0")[:6] or 0))
    return datetime.fromisoformat(head).replace(tzinfo=timezone.utc) + fraction


def our_verdicts(question: Any, now: datetime, version: Version) -> dict[str, Any]:
    project = {"metadata": {"name": "p", "namespace": "argocd"}, "spec": {"syncWindows": question["windows"]}}
    found = windows.windows_of(project, version)
    start = instant(question["start"]) if "start" in question else None
    verdicts: dict[str, Any] = {}
    for name, manual in (("automatic", False), ("manual", True)):
        for key, begun in ((name, None), (f"{name} started", start)):
            if begun is not None or key == name:
                judged = windows.judge_sync(found, question["app"], now, manual=manual, start=begun)
                verdicts[key] = {"canSync": judged.can_sync, "error": judged.error}
                assert bool(judged.blocking) is not judged.can_sync
    return {
        "verdicts": verdicts,
        "matched": [w.index for w in judged.matched],
        "active": [w.index for w in judged.active],
    }


def test_decisions_at_any_instant(oracle: Oracle, version: Version, size: int, chance: random.Random) -> None:
    made = {True: 0, False: 0, "error": 0}
    while sum(made.values()) < size:
        questions = [random_question(chance, "canSync", random_instant(chance)) for _ in range(500)]
        for question, answer in zip(questions, oracle.ask(questions), strict=True):
            ours = our_verdicts(question, instant(question["now"]), version)
            shown = json.dumps(question)
            if "panic" in answer:
                # robfig/cron on `TZ=x`: the controller never gets to a decision.
                assert all(verdict["error"] for verdict in ours["verdicts"].values()), shown
                continue
            assert ours["verdicts"] == answer["verdicts"], shown
            assert ours["matched"] == answer.get("matched", []), shown
            assert ours["active"] == answer.get("active", []), shown
            for verdict in answer["verdicts"].values():
                made["error" if verdict["error"] else verdict["canSync"]] += 1
    assert min(made.values()) > size / 100, made


def test_decisions_of_the_untouched_code(
    oracle: Oracle, version: Version, size: int, chance: random.Random
) -> None:
    questions = [random_question(chance, "now", datetime.now(timezone.utc)) for _ in range(size // 4)]
    compared = 0
    for question, answer in zip(questions, oracle.ask(questions), strict=True):
        if "panic" in answer:
            continue
        sides = [our_verdicts(question, instant(answer[side]), version) for side in ("before", "after")]
        if sides[0] == sides[1]:
            compared += len(answer["verdicts"])
            assert sides[0]["verdicts"] == answer["verdicts"], json.dumps(question)
    assert compared > size / 4


def test_until_the_next_change_all_decisions_are_one(
    oracle: Oracle, version: Version, size: int, chance: random.Random
) -> None:
    horizon = timedelta(days=100)
    seen = {"change": 0, "none": 0}
    for _ in range(size // 20):
        question = random_question(chance, "canSync", random_instant(chance))
        question.pop("start", None)
        now = instant(question["now"])
        found = windows.windows_of(
            {"metadata": {"name": "p", "namespace": "argocd"}, "spec": {"syncWindows": question["windows"]}},
            version,
        )
        ahead = Foresight(now, horizon=horizon)
        for name, manual in (("automatic", False), ("manual", True)):
            change = ahead.next_change(found, question["app"], manual=manual)
            seen["change" if change.at else "none"] += 1
            span = (change.at or change.not_before or now + horizon) - now
            # A single instant between two windows that touch is no change; odd microseconds miss it.
            times = [now + _TICK, *(now + span * chance.random() for _ in range(20))]
            times += [now + span - _TICK] if span > 2 * _TICK else []
            times += [change.at + _TICK] if change.at else []
            answers = [
                answer["verdicts"][name]["canSync"]
                for answer in oracle.ask([{**question, "now": stamp(at)} for at in times])
                if "panic" not in answer
            ]
            if change.at:
                assert answers.pop() != answers[0], json.dumps(question)
            assert len(set(answers)) <= 1, json.dumps(question)
    assert min(seen.values()) > size / 100, seen


# -- global projects


def test_global_projects(oracle: Oracle, size: int, chance: random.Random) -> None:
    labels = ("prod", "dev", "a b", "", "true")
    names = ("p0", "p1", "p2", "p3")
    questions: list[dict[str, Any]] = []
    for _ in range(max(size // 100, 50)):
        projects = []
        for name in names:
            meta: dict[str, Any] = {"name": name, "namespace": "argocd"}
            if chance.random() < 0.7:
                meta["labels"] = {"env": chance.choice(["prod", "dev", "true"]), "x.y/tier": "1"}
            window = {"kind": "deny", "description": name}
            projects.append({"metadata": meta, "spec": {"syncWindows": [window]}})
        entries = []
        for _ in range(chance.randint(0, 4)):
            selector: dict[str, Any] = {}
            if chance.random() < 0.5:
                value = chance.choice([*labels, True, 1, None] if chance.random() < 0.3 else ["prod", "dev"])
                selector["matchLabels"] = {
                    chance.choice(["env", "x.y/tier", "-bad-"][: 2 + (value == "dev")]): value
                }
            if chance.random() < 0.5:
                operator = chance.choice(["In", "NotIn", "Exists", "DoesNotExist", "Exists", "exists"])
                values = (
                    [chance.choice(labels[:2])] if operator.endswith("In") or chance.random() < 0.1 else []
                )
                selector["matchExpressions"] = [
                    {"key": chance.choice(["env", "nope"]), "operator": operator, "values": values}
                ]
            entry: dict[str, Any] = {"projectName": chance.choice([*names, *names, "gone"])}
            if selector or chance.random() < 0.5:
                entry["labelSelector"] = selector if chance.random() < 0.95 else ["no", "mapping"]
            entries.append(entry)
        questions.append(
            {
                "op": "globalProjects",
                "projects": projects,
                "project": "p0",
                "globalProjects": json.dumps(entries),
            }
        )
    lengths = set()
    for question, answer in zip(questions, oracle.ask(questions), strict=True):
        argocd = ArgoCD("argocd", global_projects=tuple(json.loads(question["globalProjects"])))
        found = windows.effective_windows(question["projects"][0], question["projects"], argocd)
        assert [w.description for w in found] == answer.get("windows", answer), json.dumps(question)
        lengths.add(len(found))
    assert len(lengths) > 2


# -- globs

PIECES: Sequence[tuple[float, Sequence[str]]] = (
    (0.40, ("a", "b", "ab", "-", "a-b", "prod", "x", "é")),
    (0.42, ("\\*", "\\", "!", "]", "}", ",", "\\{")),
    (0.62, ("*", "*", "**", "***")),
    (0.72, ("?",)),
    (0.82, ("[ab]", "[a]", "[!a]", "[!ab]", "[a-c]", "[!a-c]", "[é]", "[]", "[", "[a-", "[-a]", "[ab-]",
            "[b-a]", "[a\\]]", "[!]")),
)  # fmt: skip


def random_pattern(chance: random.Random, depth: int = 0) -> str:
    out = []
    for _ in range(chance.randint(0, 4)):
        roll = chance.random()
        pieces = next((pieces for below, pieces in PIECES if roll < below), None)
        if pieces:
            out.append(chance.choice(pieces))
        elif depth < 3:
            inner = ",".join(random_pattern(chance, depth + 1) for _ in range(chance.randint(1, 3)))
            out.append("{" + inner + ("}" if chance.random() < 0.97 else ""))
    return "".join(out)


def random_text(chance: random.Random) -> str:
    return "".join(
        chance.choice(("a", "b", "ab", "-", "prod", "x", "c", "/", "é")) for _ in range(chance.randint(0, 6))
    )


def our_glob(pattern: str, text: str, is_strict: bool) -> bool | str:
    try:
        return globs.compile(pattern, is_strict)(text)
    except GlobError:
        return "error"
    except GlobPanic:
        return "panic"


def test_globs(oracle: Oracle, version: Version, size: int, chance: random.Random) -> None:
    is_strict = version.at_least(3, 6)
    questions: list[dict[str, Any]] = []
    for _ in range(size // 4):
        pattern = random_pattern(chance)
        texts = [random_text(chance), random_text(chance), "", pattern]
        questions += [{"op": "glob", "text": pattern, "texts": [text]} for text in texts]
    seen: dict[bool | str, int] = {}
    for question, answer in zip(questions, oracle.ask(questions), strict=True):
        theirs = "panic" if "panic" in answer else "error" if "error" in answer else answer["results"][0]
        assert our_glob(question["text"], question["texts"][0], is_strict) == theirs, question
        seen[theirs] = seen.get(theirs, 0) + 1
    assert seen[True] > size / 20 and seen[False] > size / 20 and seen["error"]
    assert ("panic" in seen) is not is_strict


def test_lists_of_namespaces(oracle: Oracle, version: Version) -> None:
    entries = (
        "team-*", "team-a", "/^team-[ab]$/", "/team/", "/^((?!kube).)*$/", "/(/", "/a", "a/", "//", "", "*",
        r"/(?<x>team)-\w/", r"/\Ateam\z/", r"/team-a\Z/", r"/(?<!x)team/", "/[/", "{team-a,x}",
    )  # fmt: skip
    texts = ["team-a", "team-b", "team", "kube-system", "", "a", "/a"]
    answers = oracle.ask({"op": "list", "text": entry, "texts": texts} for entry in entries)
    for entry, answer in zip(entries, answers, strict=True):
        assert [globs.match_list([entry], text, version) for text in texts] == answer["results"], entry


# -- schedules and durations

FIELDS: Sequence[tuple[int, int, Sequence[str]]] = (
    (0, 59, ("60",)),
    (0, 23, ("24",)),
    (1, 31, ("32", "0")),
    (1, 12, ("jan", "DEC", "foo")),
    (0, 6, ("sun", "Fri", "7", "sat-sun")),
)
LOCATIONS = (
    "", "", "", "", "TZ=UTC ", "CRON_TZ=Europe/Paris ", "TZ=America/New_York ", "TZ=America/Sao_Paulo ",
    "TZ=Asia/Kathmandu ", "TZ=Nowhere/X ", "TZ=Australia/Lord_Howe ", "TZ=Europe/London ", "TZ= ", "TZ=Local ",
    "TZ=Africa/Cairo ", "TZ=Asia/Beirut ", "TZ=/etc/x ",
)  # fmt: skip


def random_field(chance: random.Random, low: int, high: int, odd: Sequence[str]) -> str:
    def number() -> str:
        if chance.random() < 0.95:
            return str(chance.randint(low, high))
        return chance.choice((*odd, "x", "", "+5", "?", "*", "99999999999999999999"))

    def span() -> str:
        first, last = sorted((chance.randint(low, high), chance.randint(low, high)))
        return f"{first}-{last}"

    forms: Sequence[Callable[[], str]] = (
        lambda: "*", number, number, span, lambda: f"*/{chance.randint(1, 9)}",
        lambda: f"{number()}/{chance.randint(1, 9)}", lambda: f"{span()}/{number()}",
        lambda: chance.choice(("?", f"{number()}-{number()}", "*/0", "1/2/3", "1-2-3", "*-5", "*/x", ",")),
    )  # fmt: skip
    weights = (4, 4, 4, 4, 2, 1, 1, 0.5)
    if chance.random() < 0.45:
        return "*"
    chosen = chance.choices(forms, weights, k=chance.choice([1, 1, 1, 2, 3]))
    return ",".join(form() for form in chosen)


def test_schedules(oracle: Oracle, size: int, chance: random.Random) -> None:
    questions: list[dict[str, Any]] = []
    for _ in range(size // 2):
        fields = [random_field(chance, *field) for field in FIELDS]
        if chance.random() < 0.03:
            fields = fields[: chance.randint(0, 5)] + ["*"] * chance.randint(0, 2)
        spec = chance.choice(LOCATIONS) + chance.choice([" ", " ", "\t", "\u2003"]).join(fields)
        times = [chance.randint(1_500_000_000, 2_200_000_000)]
        times += [int((chance.choice(CHANGES) - EPOCH).total_seconds()) + chance.randint(-90_000, 90_000)]
        questions.append({"op": "cron", "text": spec, "times": times})
    refused = never = 0
    for question, answer in zip(questions, oracle.ask(questions), strict=True):
        try:
            schedule = cron.parse(question["text"])
        except cron.CronError as error:
            assert str(error) == answer.get("error"), question
            refused += 1
            continue
        for after, expected in zip(question["times"], answer["next"], strict=True):
            found = schedule.next(EPOCH + timedelta(seconds=after))
            assert (found and int((found - EPOCH).total_seconds())) == expected, (question, after)
            never += found is None
    assert refused > size / 200
    assert never


def test_durations(oracle: Oracle, size: int, chance: random.Random) -> None:
    numbers = ("0", "1", "5", "30", "1.5", ".5", "1.", ".", "9223372036854775807", "9223372036854775808",
               "2562047", "0.3333333333333333333333", "99999999999999999999", " 1")  # fmt: skip
    units = ("h", "m", "s", "ms", "us", "µs", "μs", "ns", "d", "", "h ", "é", '"')
    questions: list[dict[str, Any]] = []
    for _ in range(size):
        parts = [
            (
                chance.choice(numbers)
                if chance.random() < 0.3
                else str(chance.randint(0, 10 ** chance.randint(1, 19)))
            )
            + chance.choice(units[: 8 if chance.random() < 0.8 else None])
            for _ in range(chance.randint(0, 3))
        ]
        questions.append({"op": "duration", "text": chance.choice(["", "", "-", "+"]) + "".join(parts)})
    refused = 0
    for question, answer in zip(questions, oracle.ask(questions), strict=True):
        try:
            assert times.parse(question["text"]) == answer.get("number", 0), question
            assert "error" not in answer, question
        except times.DurationError as error:
            assert str(error) == answer.get("error"), question
            refused += 1
    assert size / 10 < refused < size * 9 / 10


def test_ages(oracle: Oracle, size: int, chance: random.Random) -> None:
    spans = [chance.choice([1, 1, 1, -1]) * int(10 ** chance.uniform(0, 15)) for _ in range(size)]
    answers = oracle.ask({"op": "human", "times": [span * 1000]} for span in spans)
    for span, answer in zip(spans, answers, strict=True):
        assert times.human(timedelta(microseconds=span)) == answer["text"], span
