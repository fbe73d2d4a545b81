from pathlib import Path

import pytest

from gateway.config.document import Document, dotted, parse_document
from gateway.config.errors import ConfigError


def parse(text: str, **environment: str) -> Document:
    return parse_document(text, Path("/etc/holdgate.yaml"), environment)


def problems(text: str, **environment: str) -> list[str]:
    return [str(problem) for problem in parse(text, **environment).problems]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_plain_values() -> None:
    text = "{a: 1, b: -2, c: 1.5, d: true, e: null, f: ~, g: , h: [x, 'y', \"z\"], i: {j: k}}"
    assert parse(text).value == {
        "a": 1,
        "b": -2,
        "c": 1.5,
        "d": True,
        "e": None,
        "f": None,
        "g": None,
        "h": ["x", "y", "z"],
        "i": {"j": "k"},
    }


@pytest.mark.parametrize(
    "text", ["no", "on", "YES", "10:30", "0600", "0x1F", "1_000", "2026-01-01", ".inf", "1e3"]
)
def test_the_surprises_of_yaml_are_text(text: str) -> None:
    assert parse(f"a: {text}").value == {"a": text}


def test_keys_are_text() -> None:
    assert parse("{1: a, on: b, null: c}").value == {"1": "a", "on": "b", "null": "c"}


def test_quoted_values_are_text() -> None:
    assert parse("{a: '1', b: \"true\", c: !!str 5}").value == {"a": "1", "b": "true", "c": "5"}


def test_empty_files() -> None:
    assert parse("").value is None
    assert parse("# nothing\n").value is None


def test_anchors_and_merges() -> None:
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: [*b, {z: 4}]}\nthree: *b\n"
    value = parse(text).value
    assert isinstance(value, dict)
    assert value["one"] == {"x": 1, "y": 3}
    assert value["two"] == {"x": 1, "y": 2, "z": 4}
    assert value["three"] == {"x": 1, "y": 2}


def test_a_merge_of_something_else() -> None:
    assert problems("a: {<<: 5}") == ["/etc/holdgate.yaml:1:4: a: << must name a mapping"]


def test_environment() -> None:
    document = parse("{a: ${ONE}, b: 'x${ONE}y${TWO}', c: $${ONE}}", ONE="1", TWO="2")
    assert document.value == {"a": "1", "b": "x1y2", "c": "${ONE}"}
    assert document.from_environment == {("a",): "${ONE}", ("b",): "x${ONE}y${TWO}"}


def test_what_the_environment_holds_is_not_read_again() -> None:
    assert parse("a: ${ONE}", ONE="${TWO} {b: c} # d").value == {"a": "${TWO} {b: c} # d"}


def test_columns_stay_true_behind_a_reference() -> None:
    assert problems("{a: ${ONE}, b: 1, b: 2}", ONE="a long value") == [
        "/etc/holdgate.yaml:1:19: b: this key is written twice; keep one of them"
    ]


def test_a_missing_variable() -> None:
    assert problems("a:\n  b: ${ONE}") == [
        "/etc/holdgate.yaml:2:6: a.b: the environment variable ONE is not set"
    ]


def test_a_reference_that_is_none() -> None:
    assert problems("a: '${1}'") == [
        "/etc/holdgate.yaml:1:4: a: ${ must be followed by a name and }; write $${ for ${ itself"
    ]


def test_keys_written_twice_at_any_depth() -> None:
    found = problems("a: {b: 1, b: 2}\nc: [{d: 1, d: 2}]\na: 3\n")
    assert [problem.split(": ")[1] for problem in found] == ["a.b", "c[0].d", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: !!python/object:os.system x",
            "the YAML tag tag:yaml.org,2002:python/object:os.system is not used here",
        ),
        ("a: !!set {x}", "the YAML tag tag:yaml.org,2002:set is not used here"),
        ("a: !own [x]", "the YAML tag !own is not used here"),
        ("{[a]: 1}", "a key must be plain text"),
    ],
)
def test_more_than_the_core_of_yaml(text: str, message: str) -> None:
    assert problems(text)[0].endswith(message)


def test_not_yaml() -> None:
    assert refusal("a: [1, 2\nb: 3").startswith("/etc/holdgate.yaml:2:")
    assert "not YAML" in refusal("a: b: c")
    assert "not YAML" in refusal("a: *nowhere")
    assert "not YAML" in refusal("a: 1\n---\nb: 2")
    assert refusal("a: 1\nb: \x07") == "/etc/holdgate.yaml:2:4: not YAML: the character #x0007 is not allowed"
    assert "private use" in refusal("a: \ue000")


def test_errors_of_the_parser_show_references_as_written() -> None:
    assert "\ue000" not in refusal("a: {b: *${ONE}}")


def test_an_alias_bomb_is_capped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "too large" in problems("\n".join(lines))[0]


def test_an_alias_of_itself_is_capped() -> None:
    assert "too large or too deep" in problems("a: &a [*a]")[0]


def test_nesting_is_capped() -> None:
    assert "too deep" in problems("a: " + "[" * 60 + "]" * 60)[0]
    assert refusal("[" * 20_000) == "/etc/holdgate.yaml:1:1: nested too deeply"


def test_a_problem_of_what_is_not_there_stands_at_what_is() -> None:
    document = parse("a:\n  b: {c: 1}\n")
    document.problem(("a", "b", "d", 3), "is missing")
    document.problem(("a", "b", "c"), "unknown", at_key=True)
    document.problem(("z",), "is missing")
    places = [(problem.line, problem.column, problem.path) for problem in document.problems]
    assert places == [(2, 3, "a.b.d[3]"), (2, 7, "a.b.c"), (1, 1, "z")]
    assert document.is_faulty(("z",))
    assert not document.is_faulty(("a",))


def test_dotted() -> None:
    assert dotted(()) == ""
    assert dotted(("rules", 0, "when")) == "rules[0].when"
