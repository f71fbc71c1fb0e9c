"""The grammar: what each source means as a tree, where it is wrong, and its limits."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from process_engine.definition.parser import MAX_NUMBER_CHARACTERS
from process_engine.definition.syntax import (
    MAX_DEPTH,
    MAX_HOLES,
    MAX_NESTING,
    MAX_SOURCE_CHARACTERS,
    Arithmetic,
    Compare,
    ExpressionSyntaxError,
    Filter,
    Hole,
    Index,
    ListNode,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    ObjectNode,
    Path,
    TextNode,
    format_path,
    parse,
    parse_segments,
    parse_template,
    walk,
)


def drawn(node: Node) -> str:
    """The tree as a text with every bracket written, so that precedence can be seen."""
    match node:
        case Literal():
            return repr(node.value)
        case Path():
            return format_path(node.root, node.segments)
        case Index():
            return f"{drawn(node.operand)}[{drawn(node.key)}]"
        case Compare() | Arithmetic():
            return f"({drawn(node.left)} {node.op} {drawn(node.right)})"
        case Logic():
            return f"({f' {node.op} '.join(drawn(operand) for operand in node.operands)})"
        case Not():
            return f"(not {drawn(node.operand)})"
        case Negate():
            return f"(- {drawn(node.operand)})"
        case Filter():
            return f"({' '.join([drawn(node.operand), '|', node.name, *map(drawn, node.args)])})"
        case ListNode():
            return f"[{', '.join(map(drawn, node.items))}]"
        case ObjectNode():
            return f"{{{', '.join(f'{key}: {drawn(member)}' for key, member in node.members)}}}"
        case TextNode():
            parts = (drawn(part.node) if isinstance(part, Hole) else repr(part) for part in node.parts)
            return f"<{' '.join(parts)}>"


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        # Operands
        ("1", "1"),
        ("1.50", "1.5"),
        ("2e3", "2000.0"),
        ("-1", "-1"),
        ("true", "True"),
        ("false", "False"),
        ("null", "None"),
        ('"a"', "'a'"),
        ("'a \"b\"'", "'a \"b\"'"),
        (r'"a\n\"\\\/\u00e9\ud83d\ude00"', "'a\\n\"\\\\/é😀'"),
        ('"two\nlines"', "'two\\nlines'"),
        ("[]", "[]"),
        ("[1, [2], 'a']", "[1, [2], 'a']"),
        ("{}", "{}"),
        ("{a: 1, 'b c': {in: 2}}", "{a: 1, b c: {in: 2}}"),
        # Paths
        ("input", "input"),
        ("input.a.b", "input.a.b"),
        ("input.a[0]['odd key'][-1]", 'input.a[0]["odd key"][-1]'),
        ("input . a", None),
        ("input.2024.total", "input.2024.total"),
        ("input.and.not.in.true", "input.and.not.in.true"),
        ("steps.analyze-data.output.score", "steps.analyze-data.output.score"),
        ("steps.1st-try.output", "steps.1st-try.output"),
        ("steps.a--b", "steps.a--b"),
        ("steps['a-'].output", 'steps["a-"].output'),
        ("input.a-b", "input.a-b"),
        ("input.a -b", "(input.a - b)"),
        ("input.a - b", "(input.a - b)"),
        ("input.a- b", "(input.a - b)"),
        ("input.a-1", "input.a-1"),
        ("index-1", "(index - 1)"),
        ("input.prices[item.id].net", "input.prices[item.id]['net']"),
        ("(input.a | default({})).b", "(input.a | default {})['b']"),
        ("[1, 2][0]", "[1, 2][0]"),
        # Precedence, rising
        ("a or b and c", "(a or (b and c))"),
        ("a and b or c and d", "((a and b) or (c and d))"),
        ("a and b and c", "(a and b and c)"),
        ("a || b && !c", "(a or (b and (not c)))"),
        ("not a and b", "((not a) and b)"),
        ("not a == b", "(not (a == b))"),
        ("!a == b", "(not (a == b))"),
        ("not not a", "(not (not a))"),
        ("a == b and c != d", "((a == b) and (c != d))"),
        ("a + b < c - d", "((a + b) < (c - d))"),
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b * c % d", "(((a / b) * c) % d)"),
        ("-a * b", "((- a) * b)"),
        ("a * -b", "(a * (- b))"),
        ("- -1", "1"),
        ("-a.b", "(- a.b)"),
        ("-a | round", "(- (a | round))"),
        ("a + b | string", "(a + (b | string))"),
        ("(a + b) | string", "((a + b) | string)"),
        ("a == b | default(1)", "(a == (b | default 1))"),
        ("a | trim | upper", "((a | trim) | upper)"),
        ("(a or b) and c", "((a or b) and c)"),
        # Comparing
        ("a in [1, 2]", "(a in [1, 2])"),
        ("a not in b", "(a not in b)"),
        ("not a in b", "(not (a in b))"),
        ("a contains 'x'", "(a contains 'x')"),
        (r'a matches "^v\d+\.x$"', r"(a matches '^v\\d+\\.x$')"),
        (r'a matches "^v\\d$"', r"(a matches '^v\\d$')"),
        ("a >= 1", "(a >= 1)"),
        ("(a == b) == c", "((a == b) == c)"),
        # Filters
        ('a | default("x")', "(a | default 'x')"),
        ('a | default:"x"', "(a | default 'x')"),
        ("a | default:-1 + 2", "((a | default -1) + 2)"),
        ("a | default: [] | length", "((a | default []) | length)"),
        ("a | default(b | default('c'))", "(a | default (b | default 'c'))"),
        ("a | truncate(5, '')", "(a | truncate 5 '')"),
        ("a | map('b.c-d[0]')", "(a | map 'b.c-d[0]')"),
        ("a | where('b', c)", "(a | where 'b' c)"),
        ("a|upper||b", "((a | upper) or b)"),
        # Braces count as parentheses
        ("{{ a }}", "a"),
        ("{{ a }} == {{ b }}", "(a == b)"),
        ("{{ a + 1 }} * 2", "((a + 1) * 2)"),
        ("{{ {'a': {'b': 1}} }}", "{a: {b: 1}}"),
        ("{{{'a': {'b': 1}}}}", "{a: {b: 1}}"),
        ("{{a}}.b", "a['b']"),
        # White space
        ("  a\n\t==\r\n b ", "(a == b)"),
    ],
)
def test_a_source_means(source: str, tree: str | None):
    if tree is None:
        with pytest.raises(ExpressionSyntaxError):
            parse(source)
    else:
        assert drawn(parse(source)) == tree


@pytest.mark.parametrize(
    ("source", "offset", "message", "suggestion"),
    [
        ("", 0, "a value is missing", ""),
        ("  ", 2, "ends too early", ""),
        ("a ==", 4, "ends too early", ""),
        ("== a", 0, "a value is missing before it", ""),
        ("a b", 2, "an operator is missing", ""),
        ("a 'b'", 2, "an operator is missing", ""),
        ("a)", 1, "unexpected `)`", ""),
        ("(a", 2, "`)` is missing for the `(` at 0", ""),
        ("[a, b", 5, "`]` is missing for the `[` at 0", ""),
        ("[a,]", 3, "a value is missing after the comma", ""),
        ("{a: 1", 5, "`}` is missing", ""),
        ("{a 1}", 3, "`:` is missing after the key `a`", ""),
        ("{1: 2}", 1, "the key of an object", ""),
        ("{a: 1, a: 2}", 8, "the key `a` is there twice", ""),
        ("a = b", 2, "unexpected `=`", "`==`"),
        ("a === b", 2, "unexpected `===`", "`==`"),
        ("a !== b", 2, "unexpected `!==`", "`!=`"),
        ("a & b", 2, "unexpected `&`", "`and`"),
        ("2 ** 9", 2, "unexpected `**`", "no power"),
        ("7 // 2", 2, "unexpected `//`", "int"),
        ("a ? b : c", 2, "unexpected `?`", "default"),
        ("a ?? b", 2, "unexpected `??`", "default"),
        ("a?.b", 1, "unexpected `?.`", "default"),
        ("`a`", 0, "unexpected ```", "Quote"),
        ("a; b", 1, "unexpected character `;`", ""),
        ("a == größe", 7, "unexpected character `ö`", "brackets"),
        ("a\u00a0== b", 1, "unexpected character U+00A0", ""),
        ("a\x00", 1, "unexpected character U+0000", ""),
        ("1a", 0, "a number runs into a name", ""),
        ("1.a", 1, "unexpected `.`", ""),
        ("1 < 2 < 3", 6, "comparisons do not chain", "and"),
        ("a == b != c", 7, "comparisons do not chain", "and"),
        ("a matches 'x' == true", 14, "comparisons do not chain", "and"),
        ("a == not b", 5, "`not` needs parentheses", "(not"),
        ("a + !b", 4, "`not` needs parentheses", "(not"),
        ("not", 3, "ends too early", ""),
        ("a and", 5, "ends too early", ""),
        ("and b", 0, "a value is missing before it", ""),
        ("'abc", 0, "never closed", ""),
        ('"a\\"', 0, "never closed", ""),
        (r"'a\q'", 2, "unknown escape", "backslash"),
        (r"'\ud800'", 1, "half a character", ""),
        ("'\ud800'", 1, "half a character", ""),
        ("9" * 101, 0, "at most 100 characters", ""),
        ("1e999", 0, "too large", ""),
        ("-1e999", 1, "too large", ""),
        ("a.", 2, "a name must follow", "brackets"),
        ("a. b", 2, "a name must follow", "brackets"),
        ("a.-b", 2, "a name must follow", "brackets"),
        ("a[1.5]", 2, "an integer or a quoted name", ""),
        ("a[true]", 2, "an integer or a quoted name", ""),
        ("a[null]", 2, "an integer or a quoted name", ""),
        ("a[1", 3, "`]` is missing", ""),
        ("len(a)", 0, "no function calls", "`value | length`"),
        ("upper(a)", 0, "no function calls", "`value | upper`"),
        ("a | uper", 4, "no filter `uper`", "Did you mean `upper`?"),
        ("a | qqq", 4, "no filter", "The filters are default, json"),
        ("a | ", 4, "the name of a filter is missing", ""),
        ("a | 5", 4, "the name of a filter is missing", ""),
        ("a | default", 4, "takes 1 arguments, not 0", ""),
        ("a | default()", 4, "takes 1 arguments, not 0", ""),
        ("a | default(1, 2)", 4, "takes 1 arguments, not 2", ""),
        ("a | upper(1)", 4, "takes 0 arguments, not 1", ""),
        ("a | truncate", 4, "takes 1 to 2 arguments, not 0", ""),
        ("a | default: b", 13, "after `:` stands one literal", "brackets"),
        ("a | map(b)", 8, "`map` needs a path", "quoted path"),
        ("a | map('')", 8, "`map` needs a path", "quoted path"),
        ("a | map('b | upper')", 8, "`map` needs a path", "quoted path"),
        ("a | where('b + c', 1)", 10, "`where` needs a path", "quoted path"),
        ("a matches b", 10, "takes a quoted pattern", ""),
        ("a matches '('", 10, "pattern is not valid", "RE2"),
        (r"a matches '(x)\1'", 10, "pattern is not valid", "RE2"),
        ("{{ a", 4, "", ""),
        ("{{ a }", 5, "`}}` is missing for the `{{` at 0", ""),
        ("{{ a } }", 5, "`}}` is missing for the `{{` at 0", ""),
        ("{{ }}", 3, "a value is missing before it", ""),
    ],
)
def test_a_wrong_source_is_refused_at_its_place(source: str, offset: int, message: str, suggestion: str):
    with pytest.raises(ExpressionSyntaxError) as refusal:
        parse(source)

    fault = refusal.value
    assert message in fault.message
    assert suggestion in fault.suggestion
    assert fault.source == source
    assert fault.code == "EXPRESSION_SYNTAX"
    assert fault.offset == offset if source != "{{ a" else fault.offset == 0


@pytest.mark.parametrize(
    ("source", "suggestion"),
    [
        ("steps", "Write `steps.review.output`."),
        ("steps[0]", "Write `steps.review.output`."),
        ("steps[input.a]", "Write `steps.review.output`."),
        ("steps.x.score", "Write `steps.x.output.score`."),
        ("steps.my-step.score.total[0]", "Write `steps.my-step.output.score.total[0]`."),
        ("steps.x[0]", "Write `steps.x.output[0]`."),
        ("steps.x[input.a]", "Write `steps.x.output[…]`."),
        ("steps.x.ouput", "Did you mean `steps.x.output`, or `steps.x.output.ouput`?"),
        ("steps.x.Status", "Did you mean `steps.x.status`, or `steps.x.output.Status`?"),
    ],
)
def test_a_read_of_a_step_names_the_step_and_a_field(source: str, suggestion: str):
    with pytest.raises(ExpressionSyntaxError) as refusal:
        parse(f"true and {source}")

    assert refusal.value.suggestion == suggestion
    assert refusal.value.offset == len("true and ")


def test_a_node_knows_where_it_stands():
    node = parse("input.a + 1 == (steps.b | trim | default('x'))")

    offsets = {f"{type(part).__name__} {drawn(part)}": part.offset for part in walk(node)}
    assert offsets == {
        "Compare ((input.a + 1) == ((steps.b | trim) | default 'x'))": 12,
        "Arithmetic (input.a + 1)": 8,
        "Path input.a": 0,
        "Literal 1": 10,
        "Filter ((steps.b | trim) | default 'x')": 33,
        "Filter (steps.b | trim)": 26,
        "Path steps.b": 16,
        "Literal 'x'": 41,
    }


# Limits


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "(" * 5000 + "a" + ")" * 5000,
        "[" * 5000,
        "{a:" * 4000,
        "{{" * 5000,
        "!" * 5000 + "a",
        "not " * 3000 + "a",
        "-" * 5000 + "a",
        "a[" * 5000,
        "a | default(" * 1000,
        "a or b and not c == d + e * -(" * 500,
        "(" * (MAX_NESTING + 1) + "a" + ")" * (MAX_NESTING + 1),
    ],
)
def test_a_source_nested_too_deeply_is_refused(source: str):
    with pytest.raises(ExpressionSyntaxError, match="nested deeper"):
        parse(source)


@pytest.mark.parametrize(
    "source",
    [
        "a + " * 4000 + "a",
        "a" + " | trim" * 2000,
        "a" + "[b]" * 3000,
        "a" + "[b].c" * 2000,
        "(" + "a - " * 129 + "a)",
    ],
)
def test_a_row_of_operations_has_an_end(source: str):
    with pytest.raises(ExpressionSyntaxError, match=f"more than {MAX_DEPTH} operations"):
        parse(source)


def test_as_much_as_is_allowed_is_parsed():
    parse("(" * MAX_NESTING + "a" + ")" * MAX_NESTING)
    parse("[" * MAX_NESTING + "a" + "]" * MAX_NESTING)
    parse("a + " * (MAX_DEPTH - 1) + "a")
    parse("9" * MAX_NUMBER_CHARACTERS)
    parse("a or " * 3000 + "a")
    parse("[" + "1," * 8000 + "1]")
    parse(" " * (MAX_SOURCE_CHARACTERS - 1) + "a")


@pytest.mark.parametrize("source", [" " * MAX_SOURCE_CHARACTERS + "a", "a or " * 100_000 + "a"])
def test_a_source_has_a_largest_length(source: str):
    with pytest.raises(ExpressionSyntaxError, match="at most 16,384 characters"):
        parse(source)


def test_the_message_of_a_long_source_shows_the_place_only():
    with pytest.raises(ExpressionSyntaxError) as refusal:
        parse("a or " * 2000 + "=" + " or a" * 1000)

    assert len(str(refusal.value)) < 400
    assert refusal.value.offset == 10_000


# Templates


def parts(source: str) -> list[str]:
    """Literal parts quoted, holes drawn."""
    return [
        repr(part) if isinstance(part, str) else drawn(part.node) for part in parse_template(source).parts
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ["''"]),
        ("plain }} text { }", ["'plain }} text { }'"]),
        ("{{a}}", ["a"]),
        ("Hi {{ a }}!", ["'Hi '", "a", "'!'"]),
        ("{{ a }}{{ b }}", ["a", "b"]),
        ("{{ '}}' }}", ["'}}'"]),
        ("{{ \"}}\" + '{{' }} }}", ["('}}' + '{{')", "' }}'"]),
        ('{{ "{{" }}', ["'{{'"]),
        ("{{ {'a': {'b': 1}}}}}", ["{a: {b: 1}}", "'}'"]),
        ("{{ {'a': {'b': 1}} }}", ["{a: {b: 1}}"]),
        ("{{ a['}}'] }}", ['a["}}"]']),
        ("{{ a |\n default('x') }}\n", ["(a | default 'x')", "'\\n'"]),
        ("{{{a: 1}}}", ["{a: 1}"]),
    ],
)
def test_a_template_consists_of_text_and_holes(source: str, expected: list[str]):
    assert parts(source) == expected


@pytest.mark.parametrize(
    ("source", "offset", "message"),
    [
        ("ab {{ c", 3, "never closed"),
        ("ab {{", 3, "never closed"),
        ("ab {{ }}", 6, "a value is missing"),
        ("ab {{ c }", 8, "`}}` is missing for the `{{` at 3"),
        ("ab {{ c d }} ef", 8, "`}}` is missing"),
        ("ab {{ c ** 2 }}", 8, "unexpected `**`"),
        ("ab {{ 'c }}", 6, "never closed"),
        ("ab {{ {{ c }} }}", 6, "`{{` inside `{{"),
        ("ab {{ c }} {{ d | nope }}", 18, "no filter"),
        ("ab {{ steps.x.score }}", 6, "no field of a step"),
        ("ab {{ " + "a or " * 5000 + "a }}", 3, "not closed within 16,384"),
    ],
)
def test_a_wrong_hole_is_refused_at_its_place_in_the_text(source: str, offset: int, message: str):
    with pytest.raises(ExpressionSyntaxError) as refusal:
        parse_template(source)

    assert message in refusal.value.message
    assert refusal.value.offset == offset
    assert refusal.value.source == source


def test_a_hole_knows_its_ends():
    source = "ab {{ input.c }} d"
    hole = next(part for part in parse_template(source).parts if isinstance(part, Hole))

    assert source[hole.offset : hole.end] == "{{ input.c }}"
    assert hole.node.offset == 6


def test_a_long_text_may_hold_many_holes():
    assert len(parse_template("x {{ a }} " * MAX_HOLES).parts) == 2 * MAX_HOLES + 1
    with pytest.raises(ExpressionSyntaxError, match="at most 1,048,576"):
        parse_template("x" * 2_000_000)


def test_a_text_with_more_holes_than_that_is_refused_at_the_first_too_many():
    with pytest.raises(ExpressionSyntaxError, match="at most 10,000") as refusal:
        parse_template("x {{ a }} " * 100_000)

    assert refusal.value.offset == 10 * MAX_HOLES + 2
    assert "join" in refusal.value.suggestion


# Conditions


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("'{{ a }}' == 'b'", "(<a> == 'b')"),
        ("\"x {{ a | default('y') }} z\" == b", "(<'x ' (a | default 'y') ' z'> == b)"),
        ("{{ a }} == '{{ b }}-{{ c }}'", "(a == <b '-' c>)"),
        (r"'\n{{ a }}\t' == b", "(<'\\n' a '\\t'> == b)"),
        ("a contains '{{'", "(a contains '{{')"),
        ("a contains '}}'", "(a contains '}}')"),
        ("a contains '}}{{'", "(a contains '}}{{')"),
        ("{{ a == '{{ b }}' }}", "(a == <b>)"),
        ("a['{{ b }}']", "a[<b>]"),
    ],
)
def test_in_a_condition_a_quoted_text_with_braces_is_a_template(source: str, tree: str):
    assert drawn(parse(source, condition=True)) == tree


def test_elsewhere_a_quoted_text_with_braces_is_only_text():
    assert drawn(parse("'{{ a }}' == 'b'")) == "('{{ a }}' == 'b')"
    assert drawn(parse_template("{{ '{{ a }}' }}").parts[0].node) == "'{{ a }}'"  # type: ignore[union-attr]


def test_offsets_inside_a_quoted_template_count_in_the_condition():
    source = "input.a == 'x{{ input.b }}'"
    offsets = {
        part.segments: part.offset for part in walk(parse(source, condition=True)) if isinstance(part, Path)
    }

    assert offsets == {("a",): 0, ("b",): source.index("input.b")}


def test_the_same_quotes_within_a_quoted_template_are_explained():
    with pytest.raises(ExpressionSyntaxError) as refusal:
        parse('"{{ input["x"] }}" == "a"', condition=True)

    assert refusal.value.suggestion == "Inside a quoted text use the other kind of quotes."


# Relative paths


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a", ("a",)),
        ("a.b-c[0]['d e']", ("a", "b-c", 0, "d e")),
        ("", None),
        ("a b", None),
        ("a[b]", None),
        ("a | upper", None),
        (".a", None),
    ],
)
def test_a_relative_path_has_segments(text: str, segments: tuple[str | int, ...] | None):
    assert parse_segments(text) == segments


# Anything at all

FRAGMENTS = (
    *(
        "input",
        "steps",
        ".a",
        ".output",
        "[0]",
        "['k']",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "{{",
        "}}",
        ",",
        ":",
        "|",
    ),
    *(
        "default",
        "(1)",
        ":'x'",
        "upper",
        "map('a')",
        "and",
        "or",
        "not",
        "in",
        "contains",
        "matches",
        "'.*'",
        "==",
    ),
    *(
        "!=",
        "<",
        "+",
        "-",
        "*",
        "/",
        "%",
        "1",
        "2.5",
        "'t'",
        '"{{ a }}"',
        "true",
        "null",
        " ",
        "\n",
        "\\",
        "é",
        "'",
    ),
)
sources = st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)


@given(sources, st.booleans())
@example("steps.", False)
@example("-" * 64 + "1", False)
def test_any_text_is_an_expression_or_a_syntax_error(source: str, condition: bool):
    try:
        node = parse(source, condition=condition)
    except ExpressionSyntaxError as fault:
        assert 0 <= fault.offset <= len(source)  # noqa: PT017
        assert fault.message  # noqa: PT017
        return
    assert all(0 <= part.offset <= len(source) for part in walk(node))


@given(sources)
def test_any_text_is_a_template_or_a_syntax_error(source: str):
    try:
        template = parse_template(source)
    except ExpressionSyntaxError as fault:
        assert 0 <= fault.offset <= len(source)  # noqa: PT017
        return
    written = "".join(
        part if isinstance(part, str) else source[part.offset : part.end] for part in template.parts
    )
    assert written == source


@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4), st.integers(1, 4000))
def test_no_repetition_of_anything_breaks_the_parser(pieces: list[str], times: int):
    source = ("".join(pieces) * times)[:MAX_SOURCE_CHARACTERS]
    try:
        parse(source, condition=True)
    except ExpressionSyntaxError:
        return
