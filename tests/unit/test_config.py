from pathlib import Path

import pytest

from process_engine.agents import KINDS, HttpSettings
from process_engine.config import AgentsFile, find_agents_file, look_through_agents_file, read_agents_file
from process_engine.errors import ConfigurationInvalid

SECRET = "sk-do-not-show-me"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agents.yaml"


def read(file: Path, text: str, **environment: str) -> AgentsFile:
    file.write_text(text, encoding="utf-8")
    return read_agents_file(file, KINDS, environment)


def faults(file: Path, text: str, **environment: str) -> list[str]:
    """The lines of the error, without the folder of the file."""
    with pytest.raises(ConfigurationInvalid) as caught:
        read(file, text, **environment)
    return [line.replace(f"{file.parent}/", "") for line in str(caught.value).splitlines()]


def http(file: Path, text: str, **environment: str) -> HttpSettings:
    settings = read(file, f"agents:\n  writer:\n    kind: http\n{text}", **environment).agents["writer"]
    assert isinstance(settings, HttpSettings)
    return settings


# ---------------------------------------------------------------- finding the file


def test_the_file_beside_the_definition_comes_before_the_one_in_the_current_directory(tmp_path: Path):
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
        (folder / "agents.yaml").touch()
    definition = beside / "process.yaml"

    assert find_agents_file(definition=definition, directory=here) == beside / "agents.yaml"
    (beside / "agents.yaml").unlink()
    assert find_agents_file(definition=definition, directory=here) == here / "agents.yaml"
    (here / "agents.yaml").unlink()
    assert find_agents_file(definition=definition, directory=here) is None


def test_the_current_directory_is_the_one_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "agents.yaml").touch()
    monkeypatch.chdir(tmp_path)

    assert find_agents_file() == Path("agents.yaml")


def test_an_explicit_file_wins_and_must_exist(tmp_path: Path, file: Path):
    file.touch()
    explicit = tmp_path / "other.yaml"

    with pytest.raises(ConfigurationInvalid, match=r"there is no file .*other\.yaml"):
        find_agents_file(explicit, directory=tmp_path)

    explicit.touch()
    assert find_agents_file(explicit, directory=tmp_path) == explicit


# ---------------------------------------------------------------- what it says


def test_each_agent_has_the_settings_of_its_kind(file: Path):
    agents = read(
        file,
        """
x-house: {anything: goes}
agents:
  researcher:
    kind: http
    url: https://agents.example/research
    headers: {X-Team: red}
    timeout: 1m30s
    max_response: 512KiB
    x-owner: somebody
  mirror: {kind: echo, description: Says it again.}
""",
    ).agents

    assert list(agents) == ["researcher", "mirror"]
    researcher = agents["researcher"]
    assert isinstance(researcher, HttpSettings)
    assert researcher.url == "https://agents.example/research"
    assert researcher.headers["X-Team"].get_secret_value() == "red"
    assert researcher.timeout is not None
    assert (researcher.timeout.seconds, researcher.max_response) == (90.0, 512 * 1024)
    assert agents["mirror"].description == "Says it again."


def test_a_python_agent_beside_the_file_is_found(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend("/nowhere")  # restores sys.path afterwards
    (file.parent / "agents_of_this_test.py").write_text("def answer(message): return message\n")

    assert "own" in read(file, "agents: {own: {kind: python, target: 'agents_of_this_test:answer'}}").agents


def test_a_kind_of_ones_own_is_one_class(file: Path):
    class Own(KINDS["echo"], frozen=True):
        kind: str = "own"
        size: int = 0

    file.write_text("agents: {a: {kind: own, size: 5}}")

    assert read_agents_file(file, {"own": Own}, {}).agents["a"].size == 5


# ---------------------------------------------------------------- the environment


def test_variables_are_filled_in_at_any_depth_and_any_number_of_times(file: Path):
    settings = http(
        file,
        "    url: http://${HOST}:${PORT}/a\n"
        "    headers: {Authorization: 'Bearer ${TOKEN}'}\n"
        "    timeout: ${LIMIT}\n",
        HOST="127.0.0.1",
        PORT="8080",
        TOKEN=SECRET,
        LIMIT="2m",
    )

    assert settings.url == "http://127.0.0.1:8080/a"
    assert settings.headers["Authorization"].get_secret_value() == f"Bearer {SECRET}"
    assert settings.timeout is not None
    assert settings.timeout.seconds == 120


def test_two_dollars_stand_for_one_and_a_value_is_not_filled_in_twice(file: Path):
    settings = http(file, "    url: http://h/$${A}/${B}/$C/$$\n", A="a", B="${A}")

    assert settings.url == "http://h/${A}/${A}/$C/$$"


def test_a_missing_variable_is_named_with_agent_key_and_place(file: Path):
    text = """agents:
  writer:
    kind: http
    url: http://h/
    headers:
      Authorization: Bearer ${TOKEN}
"""

    assert faults(file, text) == [
        "agents.yaml:6:7 agent `writer`: `headers.Authorization` needs the environment variable TOKEN, "
        "which is not set. Set TOKEN, or write $${TOKEN} if the text itself is meant."
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${A-B}", "${A:-x}", "${1}", "a${A"])
def test_a_dollar_brace_that_names_no_variable_is_a_fault(file: Path, text: str):
    [line] = faults(file, f"agents: {{a: {{kind: echo, description: '{text}'}}}}", A="x")

    assert "`description` holds a `${` that names no variable" in line


@pytest.mark.parametrize(
    "key",
    [
        "url: ${SECRET}",
        "url: http://h/, timeout: ${SECRET}",
        "url: http://h/, max_response: ${SECRET}",
        "url: http://h/, headers: ${SECRET}",
        "url: http://h/, headers: {X: '${SECRET}\\n'}",
        "url: http://h/, unknown: ${SECRET}",
        "url: ['${SECRET}']",
        "url: http://h/, description: {a: '${SECRET}'}",
    ],
)
def test_no_fault_shows_what_came_from_the_environment(file: Path, key: str):
    text = "agents: {a: {kind: http, " + key.replace("'${SECRET}\\n'", '"${SECRET}\\n"') + "}}"

    with pytest.raises(ConfigurationInvalid) as caught:
        read(file, text, SECRET=SECRET)

    assert SECRET not in str(caught.value) + repr(caught.value)
    assert "agents.yaml:1:" in str(caught.value)


def test_no_representation_shows_what_came_from_the_environment(file: Path):
    text = (
        "agents: {a: {kind: http, url: 'http://u:${S}@h/?k=${S}', headers: {A: '${S}'}, description: '${S}'}}"
    )

    agents = read(file, text, S=SECRET)

    assert SECRET not in repr(agents) + str(agents)


def test_the_kind_is_not_filled_in(file: Path):
    [line] = faults(file, "agents: {a: {kind: '${KIND}'}}", KIND="echo")

    assert "unknown kind `${KIND}`" in line


# ---------------------------------------------------------------- faults


KIND_REMEDY = "Write `kind: ` and one of http, openai, command, python, echo."
HTTP = "agents: {a: {kind: http, url: 'http://h', %s}}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1 the file must be a mapping of keys to values."),
        ("- a", "1:1 the file must be a mapping of keys to values."),
        ("x-a: 1", "1:1 the key `agents` is missing. Write `agents:` and below it one name per agent."),
        ("agents: []", "1:1 `agents` must be a mapping of keys to values."),
        ("agents: {a: b}", "1:10 agent `a` must be a mapping of keys to values."),
        ("agents: {a: {}}", f"1:10 agent `a`: `kind` is missing. {KIND_REMEDY}"),
        ("agents: {a: {kind: 5}}", f"1:14 agent `a`: `kind` must be a word. {KIND_REMEDY}"),
        ("agents: {a: {kind: htp}}", "1:14 agent `a`: unknown kind `htp`. Did you mean `http`?"),
        (
            "agents: {'a b': {kind: echo}}",
            "1:10 `a b` is no name for an agent. Use letters, digits, `_`, `-` and `.`, 64 at most.",
        ),
        (
            "agents: {a: {kind: echo, time_out: 5}}",
            "1:26 agent `a`: unknown key `time_out`. "
            "Known here: `kind`, `description`, `max_concurrent`, `rate`.",
        ),
        (
            "agents: {a: {kind: http}}",
            "1:10 agent `a`: the key `url` is missing. `url`: Where calls are sent.",
        ),
        ("agents: {a: {kind: http, url: 5}}", "1:26 agent `a`: `url`: must be text."),
        (
            "agents: {a: {kind: http, url: h}}",
            "1:26 agent `a`: `url`: must be an address that begins with http:// or https://.",
        ),
        (HTTP % "timeot: 5s", "1:43 agent `a`: unknown key `timeot`. Did you mean `timeout`?"),
        (
            HTTP % "timeout: 0",
            "1:43 agent `a`: `timeout`: must be longer than zero; leave it out for none.",
        ),
        (HTTP % "headers: {A: 5}", "1:53 agent `a`: `headers.A`: must be text."),
        (HTTP % "headers: {A B: x}", "1:53 agent `a`: `headers.A B`: this is not the name of a header."),
        (HTTP % "max_response: 5 parsecs", "1:43 agent `a`: `max_response`: must be a size such as 512KiB."),
        (HTTP % "max_response: 0", "1:43 agent `a`: `max_response`: must be at least 1."),
        (
            "agents: {a: {kind: python, target: nowhere}}",
            "1:28 agent `a`: `target`: must be written as module:function.",
        ),
    ],
)
def test_a_fault_has_its_place_and_its_remedy(file: Path, text: str, line: str):
    assert line in [fault.removeprefix("agents.yaml:") for fault in faults(file, text)]


def test_all_faults_are_told_at_once_in_the_order_of_the_file(file: Path):
    text = """
agnts: {}
agents:
  one: {kind: htp}
  two: {kind: http, url: x, header: {}}
  three: {kind: http, url: "${NOPE}"}
  four: {kind: python, target: "no_such_module_here:x"}
"""
    lines = faults(file, text)

    assert [line.split()[0] for line in lines] == [
        "agents.yaml:2:1",
        "agents.yaml:4:9",
        "agents.yaml:5:21",
        "agents.yaml:5:29",
        "agents.yaml:6:23",
        "agents.yaml:7:24",
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"agents: {a: {kind: echo}, a: {kind: echo}}", "P005"),
        (b"agents: !!python/object:os.system {}", "P006"),
        (b"agents: [", "P004"),
        (b"\xff\xfe", "P001"),
        (b"[" * 50_000, "P003"),
        (b"agents: {}\n#" + b"x" * (1024 * 1024), "P002"),
    ],
)
def test_yaml_that_cannot_be_read_is_refused_with_its_place(file: Path, content: bytes, code: str):
    file.write_bytes(content)

    with pytest.raises(ConfigurationInvalid, match=f"{code} error .*agents.yaml:1:") as caught:
        read_agents_file(file, KINDS, {})
    assert caught.value.code == "CONFIGURATION_INVALID"


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="cannot be read: Is a directory"):
        read_agents_file(tmp_path, KINDS, {})


# ---------------------------------------------------------------- as far as it can be used


def test_what_can_be_used_is_read_beside_what_cannot(file: Path):
    file.write_text(
        "agents:\n  good: {kind: echo}\n  odd: {kind: ekko}\n  'no name': {kind: echo}\n  none:\nx: 1\n",
        encoding="utf-8",
    )

    found = look_through_agents_file(file, KINDS, {})

    assert dict(found.named) == {"good": "echo", "odd": "ekko", "no name": "echo", "none": ""}
    assert list(found.agents) == ["good"]
    assert [(fault.agent, fault.where.rpartition("/")[2]) for fault in found.faults] == [
        ("odd", "agents.yaml:3:9"),
        ("no name", "agents.yaml:4:3"),
        ("none", "agents.yaml:5:3"),
        (None, "agents.yaml:6:1"),
    ]


def test_the_strict_reader_tells_the_same_faults(file: Path):
    text = "agents:\n  odd: {kind: ekko}\n  bad: {kind: echo, x: 1}\n"

    told = faults(file, text)

    assert told == [
        str(fault).replace(f"{file.parent}/", "")
        for fault in look_through_agents_file(file, KINDS, {}).faults
    ]


def test_a_file_that_is_no_yaml_cannot_be_looked_through(file: Path):
    file.write_text("agents: [oops\n", encoding="utf-8")

    with pytest.raises(ConfigurationInvalid, match="P004"):
        look_through_agents_file(file, KINDS, {})
