"""What the default token limits leave out: as many as the stages themselves leave out."""

import pytest
from transformers import PreTrainedTokenizerBase

from abcrl.config import DataConfig, PromptConfig, TrainingConfig
from abcrl.data import GivenPrompts, load_corpus, load_pairs, load_prompts
from abcrl.models import PromptWriter, TextReader
from abcrl.supervised.texts import PairTexts, readable_texts
from abcrl.tools.lengths import Limit
from tests.data.rows import write_rows
from tests.tools.inspected import report_of

TEMPLATE = "Q: {prompt}\nA:{response}"
LONGEST = TrainingConfig().max_length


@pytest.fixture
def tokenizer(tmp_path, tiny_tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer that lies in the folder `tokenizer`."""
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tiny_tokenizer


def limits_of(tmp_path, rows: list[object], **options: object) -> dict[str, Limit]:
    file = write_rows(tmp_path / "f.jsonl", rows)
    report = report_of(file, tokenizer=str(tmp_path / "tokenizer"), **options)
    return {limit.key: limit for limit in report.limits}


def test_pairs_and_prompts_are_counted_as_the_stages_count_them(tmp_path, tokenizer):
    rows: list[object] = [
        {"prompt": f"{n % 30} " * (n % 30), "chosen": "good " * n, "rejected": "bad " * (60 - n)}
        for n in range(1, 60)
        if n % 30
    ]
    limits = limits_of(tmp_path, rows, template=TEMPLATE)
    data = DataConfig(source=str(tmp_path / "f.jsonl"), template=TEMPLATE)
    corpus = load_pairs(data)
    pairs = [*corpus.train, *corpus.validation]
    left = PairTexts(pairs, TextReader(tokenizer, policy_template=TEMPLATE), LONGEST).too_long
    assert 0 < left < len(pairs) == len(rows)
    found = limits["training.max_length"]
    assert (found.value, found.total, found.over) == (LONGEST, len(rows), left)
    asked = load_prompts(data)
    pool = GivenPrompts(
        [*asked.train, *asked.validation],
        PromptWriter(tokenizer, TEMPLATE).prompts,
        PromptConfig(max_tokens=limits["prompt.max_tokens"].enough),
    )
    found = limits["prompt.max_tokens"]
    # Every prompt is there twice, and asked once.
    assert (found.value, found.total, found.over) == (PromptConfig().max_tokens, 29, 29)
    assert (found.kept, found.total - found.kept) == (len(pool), pool.left_out)
    assert found.kept >= 0.9 * found.total


def test_responses_that_do_not_fit_are_counted_with_their_prompts(tmp_path, tokenizer):
    rows: list[object] = [{"prompt": "good " * n, "response": "bad " * n} for n in range(1, 61)]
    found = limits_of(tmp_path, rows)["training.max_length"]
    corpus = load_corpus(DataConfig(source=str(tmp_path / "f.jsonl")))
    examples = [*corpus.train, *corpus.validation]
    fitting = readable_texts(examples, tokenizer, LONGEST)
    assert 0 < found.over == len(rows) - len(fitting) < len(rows)
    assert found.effect == "sft and train-rm leave them out"
    fitting = readable_texts(examples, tokenizer, found.enough)
    assert len(fitting) == found.kept >= 0.9 * len(rows)


def test_whole_texts_are_cut_and_prompts_alone_have_no_length_of_training(tmp_path, tokenizer):
    texts: list[object] = [{"text": f"{n} " * 100} for n in range(20)]
    limits = limits_of(tmp_path, [*texts, {"text": "short"}])
    assert limits.keys() == {"training.max_length"}
    found = limits["training.max_length"]
    assert (found.counted, found.over, found.effect) == ("texts", 20, "sft and train-rm cut them")
    assert limits_of(tmp_path, [{"prompt": "a"}, {"prompt": "b"}]).keys() == {"prompt.max_tokens"}


def test_of_pairs_without_a_prompt_only_train_rm_leaves_some_out(tmp_path, tokenizer):
    limits = limits_of(tmp_path, [{"chosen": "a", "rejected": "bad " * 200}])
    assert limits.keys() == {"training.max_length"}
    found = limits["training.max_length"]
    assert (found.over, found.kept) == (1, 1)
    assert found.effect == "train-rm leaves them out, sft cuts chosen texts"
