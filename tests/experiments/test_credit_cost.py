"""The benchmark of credit's cost: what it measures of memory can be counted by hand."""

import json

import pytest

LAYERS, HEADS, TOKENS = 3, 2, 512
SIZES = ["--layers", LAYERS, "--heads", HEADS, "--width", 32, "--tokens", TOKENS, "--repeats", 2]


@pytest.fixture(scope="module")
def credit_cost(load_script):
    return load_script("benchmarks", "credit_cost")


@pytest.fixture(scope="module")
def costs(credit_cost, tmp_path_factory):
    """Lines of the table by network, architecture and T."""
    file = tmp_path_factory.mktemp("costs") / "costs.json"
    lengths = ["--lengths", 128, 256]
    options = [*SIZES, *lengths, "--device", "cpu", "--json", file]
    credit_cost.main([str(option) for option in options])
    rows = json.loads(file.read_text())["costs"]
    return {(row["network"], row["architecture"], row["length"]): row for row in rows}


def test_every_network_architecture_and_length_is_measured(costs):
    networks, architectures = ("reward-model", "policy"), ("gpt2", "llama")
    assert set(costs) == {(n, a, t) for n in networks for a in architectures for t in (128, 256)}
    assert all(row["batch"] == TOKENS / row["length"] for row in costs.values())
    for row in costs.values():
        low, high = row["credit_time"][1:]
        assert 0 < low <= row["credit_time"][0] <= high


def test_eager_holds_the_maps_of_every_layer(costs):
    for row in costs.values():
        maps = 4 * LAYERS * row["batch"] * HEADS * row["length"] ** 2
        assert row["memory"]["eager"][0] > maps


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_credit_of_one_row_takes_memory_in_proportion_to_the_tokens(architecture, costs):
    short, long = (costs["reward-model", architecture, length] for length in (128, 256))
    assert short["unit_bytes"] == long["unit_bytes"] == 4 * HEADS * TOKENS
    # All that is ever allocated: a [B, T, T] would add 128 / HEADS units to the longer one.
    assert 0 < long["extra_units"][1] < 1.1 * short["extra_units"][1]
    # The peak is elsewhere: what is still held when it comes is less than the rows themselves.
    assert long["extra_units"][0] < 1


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_credit_of_a_response_holds_about_its_rows(architecture, costs):
    row = costs["policy", architecture, 256]
    assert row["unit_bytes"] == 4 * TOKENS * 128
    assert row["extra_units"][0] < 4


def test_the_table_prints_a_line_for_each(credit_cost, capsys):
    credit_cost.main(
        [str(option) for option in [*SIZES, "--lengths", 16, "--networks", "policy", "--unpadded"]]
    )
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in printed[2:]] == [
        ["policy", "gpt2", "16"],
        ["policy", "llama", "16"],
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--repeats", "1"], "--repeats"),
        (["--lengths", "0"], "--lengths"),
        (["--width", "30", "--heads", "4"], "--width"),
        (["--json", "no/such/folder/costs.json"], "--json"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(options, named, credit_cost, capsys):
    with pytest.raises(SystemExit) as ended:
        credit_cost.main(options)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
