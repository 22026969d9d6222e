"""transformers.Trainer in a run folder: what sft and train-rm train with, whatever they learn.

Trainer's own loop, optimizer and schedule. What is added: rows and progress as in PPO, checkpoints
from which a run goes on to the byte, held-out evaluations, and one form for every loss.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from abcrl.config import (
    InputError,
    RunFailedError,
    SftConfig,
    TrainingConfig,
    TrainRmConfig,
    stream_seed,
)
from abcrl.models import computing, last_positions
from abcrl.reporter import Reporter
from abcrl.rl.training_state import require_finite_weights, training_tensors
from abcrl.signals import held_back
from abcrl.storage import (
    Checkpoint,
    RunFolder,
    checkpoint_place,
    drafting,
    last_checkpoint,
    unwritable,
)

from .early_stopping import save_trained
from .final_model import caching_as_before
from .recorder import Evaluate, Recorder

# Our name for a schedule, and Trainer's for the same with a warm-up.
_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class LossSum:
    """A loss as a sum and what it is a sum over, so that parts of a batch add up to the whole.

    Attributes:
        total: Has the gradient.
        count: Tokens, texts or pairs.
    """

    total: Float[Tensor, ""]
    count: Int[Tensor, ""]


ComputeLoss = Callable[[PreTrainedModel, Batch], LossSum]
"""From the model and a batch, as it was collated, on the model's device."""


def require_context(model: PreTrainedModel, config: TrainingConfig) -> None:
    """Refuses texts that are longer than the model can read.

    Raises:
        InputError: training.max_length exceeds the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    if context is not None and config.max_length > context:
        raise InputError(
            f"training.max_length: must fit the model's context of {context} tokens, received "
            f"{config.max_length}; lower it"
        )


def classifier_loss(model: PreTrainedModel, batch: Batch) -> LossSum:
    """Returns the cross-entropy of the labels, in nats, summed over the texts.

    - sum over texts of log softmax(logits)[label]

    The logits are those of each text's last token, by the mask: a classifier's own forward pass
    would look for it by the pad id, which a text may end in where that is <unk>.
    """
    network: Any = model
    mask, labels = batch["attention_mask"], batch["labels"]
    hidden = network.base_model(batch["input_ids"], attention_mask=mask).last_hidden_state
    # The head at every position, as in transformers, whose last digits these are then.
    logits = network.score(hidden)[torch.arange(len(labels)), last_positions(mask.bool())]
    total = functional.cross_entropy(logits.float(), labels, reduction="sum")
    return LossSum(total, torch.tensor(len(labels), device=total.device))


def train(  # noqa: PLR0913 - what a training run consists of
    model: PreTrainedModel,
    dataset: Any,  # noqa: ANN401 - a sequence of features, as the collator takes them
    collate: Any,  # noqa: ANN401 - transformers' own type for a collator is Any
    config: SftConfig | TrainRmConfig,
    *,
    folder: RunFolder,
    reporter: Reporter,
    compute_loss: ComputeLoss | None = None,
    evaluate: Evaluate | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, float]:
    """Trains the model in place; what it is then is the last model, or the best seen.

    Signals that ask the process to stop wait for the end of the step; they then leave a checkpoint.

    Args:
        model: On its device.
        dataset: What is learnt.
        collate: From a list of features to a batch.
        config: Its sections training, networks (precision), checkpoint and run are used.
        folder: Receives metrics, timings and checkpoints.
        reporter: Receives progress.
        compute_loss: None: the model's own loss, which is exact in micro-batches where it is that
            of a causal language model.
        evaluate: Returns eval/loss, and what else is to be in a row, of the model as it is; called
            every `evaluation.interval` steps.
        checkpoint: Where to go on from; None: at the beginning.

    Returns:
        A row that is not in metrics.jsonl yet: the stage adds what it measures when training is
        over. It is of the last step; where early stopping took an earlier model, of that one's.

    Raises:
        RunFailedError: A loss or weight became non-finite, or a checkpoint cannot be written.
        KeyboardInterrupt: The run was stopped; a note says so where no checkpoint was written.
    """
    recorder = Recorder(model, config, folder, reporter, evaluate)
    with drafting(folder.path) as drafts, caching_as_before(model):
        recorder.begin(drafts, checkpoint)
        if not recorder.done:
            trainer = _Trainer(
                recorder,
                compute_loss,
                config.networks.precision,
                model=model,
                args=_arguments(config, drafts, model.device),
                train_dataset=dataset,
                data_collator=collate,
            )
            trainer.remove_callback(PrinterCallback)
            _run(trainer, recorder, checkpoint, folder.path)
        recorder.take_best()
    return recorder.last_row


def _arguments(
    config: SftConfig | TrainRmConfig, drafts: Path, device: torch.device
) -> TrainingArguments:
    training = config.training
    micro_batch = training.micro_batch_size or training.batch_size
    arguments = TrainingArguments(
        output_dir=str(drafts),
        num_train_epochs=training.epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=training.batch_size // micro_batch,
        learning_rate=training.learning_rate,
        lr_scheduler_type=_SCHEDULES[training.schedule],
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        # When a step is logged or saved, and whether its loss is a number, the recorder says.
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        # Trainer seeds the global generators; the run's seed reaches them through a stream.
        seed=stream_seed(config.run.seed, "trainer") % 2**31,
    )
    arguments._n_gpu = 1  # or Trainer would spread each batch over every GPU it sees
    return arguments


def _run(trainer: "_Trainer", recorder: Recorder, checkpoint: Checkpoint | None, run: Path) -> None:
    """Trains to the end, or to where a signal stops it, which leaves a checkpoint."""
    source = None if checkpoint is None else str(checkpoint.folder)
    failure = ""
    try:
        with held_back() as arrived:
            recorder.signals = arrived
            try:
                with _refused_writes_named(run, recorder):
                    trainer.train(resume_from_checkpoint=source)
            except RunFailedError as error:
                failure = f"{error}{last_checkpoint(run)}"
                if not recorder.stopping:  # else the interrupt, which is under way, tells of it
                    raise RunFailedError(failure) from error
        if recorder.stopping:
            raise KeyboardInterrupt  # noqa: TRY301 - as held_back does
    except KeyboardInterrupt as stop:
        if failure:
            stop.add_note(f"no checkpoint written: {failure}")
        raise


@contextmanager
def _refused_writes_named(run: Path, recorder: Recorder) -> Iterator[None]:
    try:
        yield
    except RunFailedError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        if recorder.saving is None:
            raise
        raise unwritable(checkpoint_place(run, recorder.saving), error) from error


class _Trainer(Trainer):
    """Trainer with a loss that may come from elsewhere, and checkpoints of what is trained only."""

    def __init__(
        self,
        recorder: Recorder,
        compute_loss: ComputeLoss | None,
        precision: str,
        **options: Any,  # noqa: ANN401 - Trainer's own
    ) -> None:
        super().__init__(callbacks=[recorder], **options)
        self._recorder = recorder
        self._objective = compute_loss
        self._precision = precision
        self._sums: LossSum | None = None

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Adds the gradients of a micro-batch; returns its part of the step's loss."""
        if self._objective is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = self._learn(self._objective, model, inputs)
        self._recorder.add(loss, inputs)
        return loss

    def _learn(self, objective: ComputeLoss, model: Any, inputs: Batch) -> Tensor:  # noqa: ANN401
        """The loss of a step is the sum of its totals by the sum of its counts.

        That count is known with the last micro-batch, so gradients are divided by it then.
        """
        model.train()
        with self.compute_loss_context_manager():
            loss = objective(model, inputs)
        is_last = self.accelerator.sync_gradients
        if is_last and self._sums is None:
            mean = loss.total / loss.count.clamp(min=1)
            self.accelerator.backward(mean)
            return mean.detach()
        self.accelerator.backward(loss.total)
        before = self._sums or LossSum(loss.total.new_zeros(()), loss.count.new_zeros(()))
        self._sums = LossSum(before.total + loss.total.detach(), before.count + loss.count)
        if not is_last:
            return loss.total.new_zeros(())
        count = self._sums.count.clamp(min=1)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(count)
        mean, self._sums = self._sums.total / count, None
        return mean

    def compute_loss_context_manager(self) -> ExitStack:
        """Returns what forward passes run in."""
        stack = super().compute_loss_context_manager()
        stack.enter_context(computing(self.args.device, self._precision))
        return stack

    def save_model(
        self,
        output_dir: str | None = None,
        _internal_call: bool = False,  # noqa: FBT001, FBT002 - Trainer's own
    ) -> None:
        """Saves the trained weights, which is what Trainer puts back when it goes on.

        Raises:
            RunFailedError: They, or the optimizer's memory, are not finite.
        """
        self._recorder.saving = self.state.global_step
        advice = "lower training.learning_rate or training.max_grad_norm"
        model, optimizer = self.model, self.optimizer
        assert isinstance(model, nn.Module)
        assert optimizer is not None
        require_finite_weights(training_tensors(model, optimizer), advice)
        folder = Path(str(output_dir))
        folder.mkdir()
        save_trained(model, folder / "model.safetensors")
