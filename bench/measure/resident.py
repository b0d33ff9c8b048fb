"""A case resident in a worker: built, verified, warm, and put back to one state every block."""

import statistics

import torch

from bench.devices import DEVICES
from bench.matrix.case import WHOLE, Case
from bench.measure.metronome import metronomes_for
from bench.measure.protocol import Prepared
from bench.measure.stopwatch import Samples, time_block, time_steps
from bench.measure.verify import verify
from sumnet.optimizers import LEARNING_RATE
from sumnet.train import TrainingLoop, build_loop

WARMUP_WINDOW = 8
WARMUP_TOLERANCE = 0.03
WARMUP_STEADY = 2
WARMUP_LIMIT_NS = 1_500_000_000


class Resident:
    """One case, ready to be timed. Raises InvalidCase where it is not what it says."""

    def __init__(self, case: Case, lr: float = LEARNING_RATE) -> None:
        self.case = case
        self.metronomes = metronomes_for(activation_bytes=4 * case.batch * case.hidden)
        self._device = DEVICES[case.device.partition(":")[0]]
        self._clock = self._device.clock()
        self._loop = build_loop(
            case.batch,
            hidden=case.hidden,
            optimizer=case.optimizer,
            implementation=case.implementation,
            lr=lr,
            device=case.device,
            dtype=getattr(torch, case.dtype),
            compiled=case.compile == "on",
        )
        self._verification = verify(case, self._loop)
        self._saved = [(t, t.detach().clone()) for t in _mutable_tensors(self._loop)]
        self._warmup_steps = 0
        self._step_ns = self._warm_up()

    def prepared(self) -> Prepared:
        return Prepared(
            case=self.case.id,
            step_ns=self._step_ns,
            warmup_steps=self._warmup_steps,
            loss_ratio=self._verification.loss_ratio,
            graphs=self._verification.graphs,
            metronomes=self.metronomes,
        )

    def restore(self) -> None:
        """Put weights and optimizer state back to where verification left them.

        So every block times the same steps of the same training, however many came before. A net
        that went on training would end in vanishing gradients, and a CPU is many times slower at
        the subnormal numbers they decay through.
        """
        with torch.no_grad():
            for tensor, saved in self._saved:
                tensor.copy_(saved)
        self._device.synchronize()

    def time(self, kind: str, samples: int) -> Samples:
        """One block of the given kind from the restored state."""
        return time_block(self._loop, self._clock, kind, samples)

    def synchronised_step(self) -> None:
        """One whole step, and waiting for the device to have done it."""
        self._loop.train_step()
        self._device.synchronize()

    def _warm_up(self) -> int:
        """Step until the median has not fallen for WARMUP_STEADY windows; the least, ns."""
        spent = steady = 0
        least = float("inf")
        while steady < WARMUP_STEADY and spent < WARMUP_LIMIT_NS:
            self.restore()
            window = time_steps(self._loop, self._clock, WARMUP_WINDOW)[WHOLE]
            self._warmup_steps += WARMUP_WINDOW + 1
            spent += sum(window)
            median = statistics.median(window)
            steady = steady + 1 if median > least * (1 - WARMUP_TOLERANCE) else 0
            least = min(least, median)
        return round(least)


def _mutable_tensors(loop: TrainingLoop) -> list[torch.Tensor]:
    state = loop.optimizer.state.values()
    return [
        *loop.model.parameters(),
        *(value for entry in state for value in entry.values() if torch.is_tensor(value)),
    ]
