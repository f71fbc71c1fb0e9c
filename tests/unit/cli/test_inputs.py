import pytest

from process_engine.cli.inputs import gather_input
from process_engine.definition.checking import load_definition
from process_engine.errors import InputRejected

FIELDS = """
name: p
input:
  text: {type: string}
  count: {type: integer}
  share: {type: number}
  loud: {type: boolean}
  tags: {type: array}
  options: {type: object}
steps: [{id: t, type: timer, delay: 1s}]
"""
SCHEMA = """
name: p
input:
  schema:
    type: object
    properties: {either: {type: [integer, "null", string]}, anything: {}}
steps: [{id: t, type: timer, delay: 1s}]
"""
ANYTHING = "name: p\nsteps: [{id: t, type: timer, delay: 1s}]\n"


def process(text):
    definition, problems = load_definition(text)
    assert definition is not None, problems
    return definition


def gathered(*fields, document=None, text=FIELDS):
    return gather_input(process(text), document, fields)


def faults_of(*fields, document=None):
    with pytest.raises(InputRejected) as caught:
        gathered(*fields, document=document)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text=007", "007"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("text=true", "true"),
        ("count=12", 12),
        ("count=-3", -3),
        ("count=123456789012345678901234567890", 123456789012345678901234567890),
        ("share=1", 1),
        ("share=0.5", 0.5),
        ("loud=true", True),
        ("loud=False", False),
        ('tags=["a", 1]', ["a", 1]),
        ('options={"a": {"b": null}}', {"a": {"b": None}}),
        ("unknown=12", "12"),
    ],
)
def test_a_field_is_read_as_the_process_declares_it(field, value):
    key = field.partition("=")[0]

    answer = gathered(field)

    assert answer == {key: value}
    assert type(answer[key]) is type(value)


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("count=many", ("input.count", '"many" is not a whole number')),
        ("count=1.5", ("input.count", '"1.5" is not a whole number')),
        ("count=true", ("input.count", '"true" is not a whole number')),
        ("share=half", ("input.share", '"half" is not a number')),
        ("loud=yes", ("input.loud", '"yes" is not true or false')),
        ("tags=a,b", ("input.tags", '"a,b" is not a JSON list')),
        ("options=[]", ("input.options", '"[]" is not a JSON object')),
        (
            "tags=[" + "1," * 100,
            ("input.tags", '"[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,…" is not a JSON list'),
        ),
        ("text", ("-i text", "must be KEY=VALUE")),
        ("=x", ("-i =x", "must be KEY=VALUE")),
    ],
)
def test_a_field_that_cannot_be_read_is_refused(field, fault):
    assert faults_of(field) == [fault]


def test_all_faults_are_told_at_once():
    assert len(faults_of("count=x", "loud=x", "tags=x", document="nonsense")) == 4


def test_without_a_declared_type_a_field_is_text():
    assert gathered("a=1", "b=[1]", text=ANYTHING) == {"a": "1", "b": "[1]"}


@pytest.mark.parametrize(("given", "value"), [("7", 7), ("null", None), ("seven", "seven")])
def test_the_first_type_that_fits_is_taken_where_several_are_allowed(given, value):
    assert gathered(f"either={given}", text=SCHEMA) == {"either": value}


def test_a_field_wins_over_the_document():
    assert gathered("count=2", document='{"count": 1, "text": "t"}') == {"count": 2, "text": "t"}


def test_the_document_may_be_in_a_file(tmp_path):
    path = tmp_path / "input.json"
    path.write_text('{"text": "Grüße"}', encoding="utf-8")

    assert gathered(document=f"@{path}") == {"text": "Grüße"}


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("@/nowhere/input.json", ("input /nowhere/input.json", "cannot be read: No such file or directory")),
        ("[1]", ("--input", "must be a JSON object")),
        ("null", ("--input", "must be a JSON object")),
    ],
)
def test_a_document_that_is_no_object_is_refused(document, fault):
    assert faults_of(document=document) == [fault]


@pytest.mark.parametrize("document", ["{", "", "{'a': 1}", '{"a": NaN}'])
def test_a_document_that_is_no_json_is_refused(document):
    ((place, fault),) = faults_of(document=document)

    assert place == "--input"
    assert fault.startswith("is not JSON: ")


def test_without_a_document_fields_change_what_is_present():
    present = {"text": "a", "count": 1}

    assert gather_input(process(FIELDS), None, ["count=2"], present) == {"text": "a", "count": 2}
    assert gather_input(process(FIELDS), '{"text": "b"}', ["count=2"], present) == {"text": "b", "count": 2}
    assert present == {"text": "a", "count": 1}
