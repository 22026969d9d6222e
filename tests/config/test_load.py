import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abcrl.config import (
    InputError,
    PpoConfig,
    RewardMode,
    SftConfig,
    differing_keys,
    load_config,
    read_yaml,
    to_yaml,
    validate,
)

OUTPUT = "run.output=somewhere"


def write(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_yield_to_the_file_the_file_to_set_and_set_to_flags(tmp_path):
    file = write(
        tmp_path,
        "training: {epochs: 2.0, batch_size: 2, max_length: 2, warmup_steps: 2}\n",
    )
    config = load_config(
        SftConfig,
        file=file,
        assignments=[OUTPUT, "training.max_length=3", "training.warmup_steps=3"],
        flags={"training.warmup_steps": 4, "training.batch_size": None},
    )
    training = config.training
    assert training.log_interval == 20  # default
    assert training.batch_size == 2  # file; a flag that is None was not given
    assert training.max_length == 3  # --set
    assert training.warmup_steps == 4  # flag


def test_the_last_of_two_assignments_wins():
    config = load_config(SftConfig, assignments=[OUTPUT, "data.limit=5", "data.limit=6"])
    assert config.data.limit == 6


def test_an_assignment_reads_its_value_as_yaml_and_keeps_equals_signs():
    config = load_config(SftConfig, assignments=["run.output=/a=b", "data.limit=null"])
    assert config.run.output == "/a=b"
    assert config.data.limit is None


def test_a_whole_section_can_be_assigned():
    config = load_config(SftConfig, assignments=[OUTPUT, "data={limit: 7, seed: 3}"])
    assert (config.data.limit, config.data.seed) == (7, 3)


def test_an_empty_section_in_the_file_can_be_filled_by_set(tmp_path):
    file = write(tmp_path, "data:\n")
    assert load_config(SftConfig, file=file, assignments=[OUTPUT, "data.seed=1"]).data.seed == 1


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "20:30", "y", "1:2:3"])
def test_yaml_1_2_leaves_words_alone(tmp_path, word):
    assert read_yaml(write(tmp_path, f"source: {word}\n")) == {"source": word}
    source = "data.source=texts.csv"
    config = load_config(SftConfig, assignments=[OUTPUT, source, f"data.columns.text={word}"])
    assert config.data.columns.text == word


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_yaml_1_2_reads_exponents_as_floats(text):
    config = load_config(SftConfig, assignments=[OUTPUT, f"training.learning_rate={text}"])
    assert config.training.learning_rate == 1e-4


def test_a_leading_zero_is_no_octal():
    assert load_config(SftConfig, assignments=[OUTPUT, "data.limit=010"]).data.limit == 10


def test_an_empty_file_holds_defaults(tmp_path):
    assert read_yaml(write(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("data:\n  limit: 5\n  limit: 6\n", 3, "duplicate key"),
        ("data:\n  limit: [1, 2\nrun: 1\n", 3, "expected"),
        ("data:\n\tlimit: 5\n", 2, "cannot start any token"),
    ],
)
def test_bad_yaml_is_refused_with_file_and_line(tmp_path, text, line, said):
    file = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}:{line}: must be valid YAML 1.2: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["2024-13-45", "!!int five", "!!float x", "[", "a: b", "*nowhere"]
)
def test_a_value_that_is_no_yaml_is_refused_with_the_assignment(value):
    with pytest.raises(InputError) as caught:
        load_config(SftConfig, assignments=[OUTPUT, f"data.source={value}"])
    assert str(caught.value).startswith(f"--set data.source={value}:")
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="ab01289-_:.+~!&*?|>[]{}#,'\"% \n\toynOe<=@`\\\x00é\u2028", max_size=20))
def test_no_text_whatsoever_escapes_as_another_error(text):
    with suppress(InputError):
        load_config(SftConfig, assignments=[OUTPUT, f"data.source={text}"])


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"- 1\n- 2\n", "mapping of sections"), (b"\xff\xfe", "UTF-8"), (b"5", "mapping of sections")],
)
def test_a_file_without_sections_is_refused_by_name(tmp_path, content, said):
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml: the configuration file must exist"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="must be a readable UTF-8 file"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("text", ["data.limit", "", "=5"])
def test_an_assignment_without_key_or_value_is_refused(text):
    with pytest.raises(InputError, match=r"--set: must read section\.key=value"):
        load_config(SftConfig, assignments=[text])


def test_a_key_inside_a_value_is_refused():
    with pytest.raises(InputError, match=r"data\.limit: data must be a section, received 5"):
        load_config(SftConfig, assignments=["data=5", "data.limit=3"])


# Every character that a path or a name may hold, but for NEL, which ruamel.yaml does not quote.
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), min_size=1, max_size=12
) | st.sampled_from(["1_000", "1e5", "0x1f", "on", "~", "null", "2024-10-10", "12:30", ".inf"])
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(
    column=words,
    policy=words.filter(lambda word: "\x00" not in word and not word.startswith("~")),
    mode=st.sampled_from([mode for mode in RewardMode if mode is not RewardMode.RLHF]),
    beta=st.none() | st.floats(0, 1),
    limit=st.none() | st.integers(2, 10**12),
    rate=positive,
    grad_norm=st.none() | positive,
    seed=st.integers(0, 2**63),
)
def test_the_saved_configuration_loads_as_an_equal_one(
    tmp_path_factory, column, policy, mode, beta, limit, rate, grad_norm, seed
):
    config = validate(
        PpoConfig,
        {
            "policy": policy,
            "reward_model": "hub/id",
            "data": {"source": "a.csv", "columns": {"text": column}, "limit": limit},
            "reward": {"mode": mode, "beta": beta},
            "ppo": {"learning_rate": rate, "max_grad_norm": grad_norm},
            "run": {"output": "somewhere", "seed": seed},
        },
    )
    file = write(tmp_path_factory.getbasetemp(), to_yaml(config))
    loaded = load_config(PpoConfig, file=file)
    assert loaded == config
    assert to_yaml(loaded) == to_yaml(config)
    assert math.copysign(1, loaded.reward.beta or 0) == math.copysign(1, config.reward.beta or 0)


def test_the_saved_configuration_holds_every_default():
    config = load_config(SftConfig, assignments=[OUTPUT])
    text = to_yaml(config)
    for line in ["validation_fraction: 0.05", "limit: null", "base: small", "schedule: linear"]:
        assert line in text
    assert differing_keys(text, text) == []


def test_differing_keys_are_named_with_both_values():
    first = load_config(SftConfig, assignments=[OUTPUT])
    second = load_config(SftConfig, assignments=[OUTPUT, "data.limit=5", "training.epochs=2.0"])
    assert differing_keys(to_yaml(first), to_yaml(second)) == [
        "data.limit: None there, 5 now",
        "training.epochs: 1.0 there, 2.0 now",
    ]
    assert differing_keys("a: 1\n", "b: 2\n") == ["a: 1 there, None now", "b: None there, 2 now"]
