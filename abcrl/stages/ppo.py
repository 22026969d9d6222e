"""`abcrl ppo`: a policy, a reward model and prompts in, a trained policy out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from abcrl.config import PpoConfig, RunFailedError
from abcrl.config.paths import require_model_folder
from abcrl.data import Corpus, PromptPool, PromptSource, read_corpus, require_two_heldout
from abcrl.machine import device_name, prepare_machine
from abcrl.models import bos_prefix, encode_batch
from abcrl.reporter import Reporter
from abcrl.rl.actors import Actors, load_actors
from abcrl.rl.calibration import Calibration, calibrate
from abcrl.rl.evaluation import Evaluator
from abcrl.rl.evidence import verify_evidence
from abcrl.rl.kl import KlController
from abcrl.rl.metrics import rollout_metrics, update_metrics
from abcrl.rl.rollout import Rollout, collect_rollout
from abcrl.rl.sampling import SharedDraws, sample_responses
from abcrl.rl.update import Experience, PolicyUpdater, UpdateResult, epoch_orders
from abcrl.storage import RunFolder, describe_environment

Metrics = dict[str, float]


@dataclass(frozen=True)
class PpoResult:
    """What a finished PPO run says of itself: the held-out evaluation before and after."""

    final: Path
    before: Metrics
    after: Metrics


def run_ppo(config: PpoConfig, reporter: Reporter) -> PpoResult:
    """Trains the policy and saves it to `<output>/final`.

    Raises:
        InputError: Data, models or folder cannot be used; nothing was written then.
        RunFailedError: A score or loss became non-finite.
    """
    output = Path(config.run.output)
    RunFolder.check_free(output)
    require_model_folder(config.policy, "policy")
    require_model_folder(config.reward_model, "reward_model")
    device = prepare_machine(config.run)
    corpus = read_corpus(config.data, reporter.message)
    actors, tokenizer = load_actors(config, device)
    texts = _select_texts(config, corpus, tokenizer)
    _try_evidence(config, texts, actors)  # while nothing is written
    environment = describe_environment(device=device_name(device), fingerprints=corpus.fingerprints)
    with RunFolder.create(output, config, environment) as folder:
        training = _Training(config, texts, actors, tokenizer, folder, reporter)
        before = training.evaluate_start()
        after = training.run()
        final = output / "final"
        actors.policy.model.save_pretrained(final)
        tokenizer.save_pretrained(final)
        save_file(actors.policy.value_head.state_dict(), final / "value_head.safetensors")
    return PpoResult(final, before, after)


class _Texts(NamedTuple):
    """What a run takes from the corpus."""

    train: PromptPool
    heldout: PromptPool
    gold_score: Callable[[str], float] | None


def _select_texts(config: PpoConfig, corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> _Texts:
    """Returns the texts that give prompts.

    Raises:
        InputError: No text to train on gives one, or fewer than two held-out ones.
    """
    train, heldout = (
        PromptPool(
            examples,
            partial(encode_batch, tokenizer),
            config.prompt,
            prefix=tuple(bos_prefix(tokenizer)),
        )
        for examples in (corpus.train, corpus.validation)
    )
    require_two_heldout(len(heldout))
    return _Texts(train, heldout, corpus.gold_score)


class _Training:
    """One run under way: the objects that live from the first step to the last."""

    def __init__(
        self,
        config: PpoConfig,
        texts: _Texts,
        actors: Actors,
        tokenizer: PreTrainedTokenizerBase,
        folder: RunFolder,
        reporter: Reporter,
    ) -> None:
        self._config = config
        self._actors = actors
        self._folder = folder
        self._reporter = reporter
        self._told_of_cuts = False
        self._prompts, self._draws = _training_draws(config, texts.train)
        self._controller = KlController(config.kl)
        self._updater = PolicyUpdater(
            actors.policy,
            Accelerator(cpu=actors.policy.model.device.type == "cpu"),
            config.ppo,
            config.response,
            eos_token_id=actors.eos_token_id,
        )
        self._calibration = _calibrate(config, texts.train, actors)
        if self._calibration.reference is not None:
            stored = self._calibration.reference.tensors()
            save_file(stored, Path(config.run.output) / "reference-credit.safetensors")
        # No text twice: the standard errors are those of independent prompts.
        prompts = min(config.evaluation.prompts, len(texts.heldout))
        if prompts < config.evaluation.prompts:
            reporter.message(
                f"evaluation: {prompts} held-out prompts instead of {config.evaluation.prompts}: "
                f"no more held-out texts have over {config.prompt.min_characters} characters "
                f"(prompt.min_characters); {len(texts.train)} texts give training prompts"
            )
        # The same for every seed of the run.
        heldout = PromptSource(texts.heldout, seed=config.data.seed, stream="validation-prompts")
        self._evaluator = Evaluator(
            prompts=heldout.take(0, prompts),
            draws=SharedDraws(config.response, seed=config.run.seed, stream="evaluation"),
            settings=config,
            calibration=self._calibration,
            decode=_decoder(tokenizer),
            gold_score=texts.gold_score,
        )

    def run(self) -> Metrics:
        """Trains for the configured number of steps; returns the last evaluation."""
        config = self._config
        evaluation: Metrics = {}
        self._reporter.start("PPO", config.steps)
        for step in range(1, config.steps + 1):
            started = time.perf_counter()
            try:
                rollout = self._collect(step)
                collected = time.perf_counter()
                result = self._update(rollout, step)
            except RunFailedError as error:
                raise RunFailedError(f"step {step}: {error}") from error
            finished = time.perf_counter()
            speed = self._record_time(step, rollout, collected - started, finished - collected)
            row = rollout_metrics(rollout, self._actors, kl_coef=self._controller.coef)
            row |= update_metrics(result)
            self._controller.update(row["objective/kl"], config.ppo.batch_size)
            if step % config.evaluation.interval == 0 or step == config.steps:
                evaluation = self._evaluate(step)
                row |= evaluation
            self._folder.append("metrics", [{"step": step, **row}])
            self._tell_of_cuts(step, row)
            self._reporter.advance(
                step,
                {
                    "score": row["objective/score"],
                    "KL": row["objective/kl"],
                    "tokens/s": round(speed),
                },
            )
        return evaluation

    def _tell_of_cuts(self, step: int, row: Metrics) -> None:
        """Says, the first time, that the reward model does not read whole responses."""
        share = row.get("score/cut_rate", 0.0)
        if share > 0 and not self._told_of_cuts:
            self._told_of_cuts = True
            self._reporter.message(
                f"step {step}: {share:.1%} of the responses, prompt and template included, are "
                f"longer than the reward model reads; it sees their ends (score/cut_rate)"
            )

    def evaluate_start(self) -> Metrics:
        """Evaluates the SFT model itself; the row of step 0."""
        evaluation = self._evaluate(step=0)
        row = {"step": 0, "score/offset": self._calibration.score_offset, **evaluation}
        self._folder.append("metrics", [row])
        return evaluation

    def _evaluate(self, step: int) -> Metrics:
        """Returns the held-out metrics and writes the samples."""
        metrics, samples = self._evaluator.evaluate(self._actors)
        self._folder.append("samples", [{"step": step, **sample} for sample in samples])
        return metrics

    def _collect(self, step: int) -> Rollout:
        batch = self._config.ppo.batch_size
        return collect_rollout(
            self._actors,
            self._prompts.take((step - 1) * batch, batch),
            self._draws,
            self._config,
            kl_coef=self._controller.coef,
            calibration=self._calibration,
        )

    def _update(self, rollout: Rollout, step: int) -> UpdateResult:
        experience = Experience(
            rollout.responses,
            rollout.tokens.logprobs,
            rollout.tokens.values,
            rollout.advantages,
            rollout.returns,
        )
        algorithm = self._config.ppo
        orders = epoch_orders(
            seed=self._config.run.seed,
            step=step,
            epochs=algorithm.ppo_epochs,
            batch=algorithm.batch_size,
        )
        return self._updater.update(experience, orders)

    def _record_time(
        self, step: int, rollout: Rollout, collecting: float, updating: float
    ) -> float:
        """Writes a row of timings.jsonl; returns response tokens per second."""
        speed = int(rollout.responses.lengths.sum()) / (collecting + updating)
        row = {
            "step": step,
            "rollout_seconds": collecting,
            "update_seconds": updating,
            "tokens_per_second": speed,
        }
        self._folder.append("timings", [row])
        return speed


def _training_draws(config: PpoConfig, texts: PromptPool) -> tuple[PromptSource, SharedDraws]:
    """Returns the prompts to train on and their random numbers; both belong to the run's seed."""
    return (
        PromptSource(texts, seed=config.run.seed, stream="train-prompts"),
        SharedDraws(config.response, seed=config.run.seed, stream="response"),
    )


def _try_evidence(config: PpoConfig, texts: _Texts, actors: Actors) -> None:
    """Refuses a mode whose evidence the networks do not give, on the run's first responses.

    Raises:
        InputError: It names the architecture and what to do.
    """
    prompts, draws = _training_draws(config, texts.train)
    responses = sample_responses(
        actors.policy.model,
        prompts.take(0, 2),
        draws,
        config.response,
        eos_token_id=actors.eos_token_id,
    )
    verify_evidence(
        config.reward.mode,
        responses,
        scorer=actors.scorer,
        policy=actors.policy.model,
        options=config.reward,
    )


def _calibrate(config: PpoConfig, texts: PromptPool, actors: Actors) -> Calibration:
    """The calibration belongs to data and models, so it is drawn by the data's seed."""
    prompts = PromptSource(texts, seed=config.data.seed, stream="calibration-prompts")
    draws = SharedDraws(config.response, seed=config.data.seed, stream="calibration")
    return calibrate(actors, prompts, draws, config)


def _decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], str]:
    def decode(ids: list[int]) -> str:
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)  # a flat list of ids gives one text
        return text

    return decode
