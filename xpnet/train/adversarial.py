"""Learning by a contest: what a generator makes, a discriminator tells from what is real."""

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from xpnet.arguments import check_word, checked
from xpnet.arrays import Array
from xpnet.arrays.parameters import FlatParams
from xpnet.data.batches import Batches
from xpnet.engine import get_engine
from xpnet.engine.base import CHECKED, Uncopied
from xpnet.engine.threads import TakesTurns
from xpnet.errors import ArgumentError
from xpnet.functions.activations import sigmoid
from xpnet.functions.adversarial import Form, fake_loss, generator_loss, real_loss
from xpnet.models.dcgan import DCGAN, TRAINING, as_signed
from xpnet.models.detections import check_scaled
from xpnet.optim import Adam, Optimizer
from xpnet.optim.schedules import Schedule
from xpnet.train.learner import Batch, Learner

NAMES = ("generator", "discriminator")
BETA1 = 0.5
"""Of Adam: with 0.9 the paper saw the contest swing."""


class Adversarial(TakesTurns, Uncopied, Learner):
    """Real images, and latent vectors of which a `DCGAN` makes others.

        D:  L_D = mean softplus(-D(x)) + mean softplus(D(G(z)))
        G:  L_G = mean softplus(-D(G(z))), or what `form` says

    A step draws latent vectors z and makes images of them. The discriminator sees real and made
    ones as two batches, so that its BatchNorm does not tell which is which, and is updated. Then it
    sees the same made images again, as it is now, and its gradient by them goes on through the
    generator, which is updated; those of its own parameters are not computed there. All passes are
    of training. `functions.adversarial` has the losses.

    A latent vector follows from `seed` and the number of the step, the same on every device.
    Nothing is read back from a device in a step. On the host the losses are looked at, since that
    costs no wait, and if one is no number nothing more is updated.

    Radford, Metz, Chintala 2015, arXiv:1511.06434; Goodfellow et al. 2014, arXiv:1406.2661.

    Parameters
    ----------
    gan : on the device where everything happens
    x : real images, (N, C, H, W), uint8 or floats from 0 to 1
    batch_size : images a step, and as many are made
    optimizer : of each network, which has its own; Adam with lr 0.0002 and beta1 0.5 if None
    real_label : of real images, 1, or less to smooth it, such as 0.9
    form : of the generator's loss, "non-saturating" or "minimax"
    seed : of the order of the images, and of latent vectors
    schedule : learning rate by number of steps done; the optimizer's own if None
    resident : as in `Batches`
    engine, threads, precision, graph, skip_engine_check : what computes, as in `get_engine`

    Attributes
    ----------
    engines : what computes for each network, by its name

    Raises
    ------
    ArgumentError
        The images are of another shape than the discriminator's, or no pixels, or a number is out
        of its range.
    """

    remedy = "make another, for a copy of the networks"
    losses: Sequence[str] = ("loss", "discriminator", "generator", "d_real", "d_fake")
    source: Batches

    @partial(checked, but=("optimizer",))
    def __init__(
        self,
        gan: DCGAN,
        x: Any,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        *,
        real_label: float = 1.0,
        form: Form = "non-saturating",
        seed: int = 0,
        schedule: Schedule | None = None,
        resident: bool | None = None,
        engine: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        graph: bool = True,
        skip_engine_check: bool = False,
    ) -> None:
        optimizer = Adam(0.0002, BETA1) if optimizer is None else optimizer
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(
                "an optimizer must be an instance of Optimizer, such as Adam(0.0002, 0.5), got "
                f"{optimizer!r}"
            )
        if not 0.5 < real_label <= 1.0:
            raise ArgumentError(
                f"real_label of Adversarial must be above 0.5, and 1 at most, got {real_label}"
            )
        check_word("form", "a generator", form, "non-saturating", "minimax")
        self.gan, self.networks = gan, gan.networks
        self.source = Batches(
            checked_images(gan, x),
            np.zeros(len(x), dtype=np.int64),  # nobody asks what they show
            batch_size,
            device=gan.device,
            dtype=gan.dtype,
            seed=seed,
            resident=resident,
        )
        self.optimizers = {name: optimizer.fresh() for name in NAMES}
        self.real_label, self.form, self.seed, self.schedule = real_label, form, seed, schedule
        self._grads: dict[str, Mapping[str, Array]] | None = None
        # Of real images, while the discriminator looks at the others.
        self._of_real = self.networks["discriminator"].params.like()
        self._begin_turns()
        options: dict[str, Any] = {
            "precision": precision, "graph": graph, "skip_engine_check": skip_engine_check
        }  # fmt: skip
        self.engines = {
            name: get_engine(network, engine, threads, **options)
            for name, network in self.networks.items()
        }
        first = self.networks["discriminator"].place(self.source.first(CHECKED)[0])
        z = self.gan.drawn(first.shape[0], key=(seed, TRAINING), step=0)
        self.engines["discriminator"] = self.engines["discriminator"].check(as_signed(first))
        self.engines["generator"] = self.engines["generator"].check(z)

    def __repr__(self) -> str:
        return f"Adversarial({self.gan!r}, {self.optimizers['generator']!r}, {self.source!r})"

    @property
    def gradient(self) -> Mapping[str, Array] | None:  # type: ignore[override]
        """Of the last step, by the names of networks and parameters."""
        if self._grads is None:
            return None
        return {f"{n}.{key}": a for n, grads in self._grads.items() for key, a in grads.items()}

    def step(self, batch: Batch) -> dict[str, Array]:
        """One update of both networks.

        What is told is of before it, but the generator's loss of between: its sum with the
        discriminator's, both, and the means of D's probabilities for real and made images.
        """
        with self._turn:
            x, _ = batch
            self._grads = None  # or the next one would need room beside it
            if self.schedule is not None:
                for optimizer in self.optimizers.values():
                    optimizer.lr = self.schedule(self.steps_done)
            generator, discriminator = (self.engines[name] for name in NAMES)
            z = self.gan.drawn(x.shape[0], key=(self.seed, TRAINING), step=self.steps_done)
            made, back_to_z = generator.forward(z, train=True)
            told, of_discriminator = self._told_apart(as_signed(x), made)
            self._grads = {"discriminator": of_discriminator}
            self._update("discriminator", told["discriminator"])
            scores, back = discriminator.forward(made, train=True)
            loss, d = generator_loss(scores, self.form)
            d_made, _ = back(d, need_grads=False)
            _, of_generator = back_to_z(d_made, need_dx=False)
            self._grads["generator"] = of_generator
            self._update("generator", loss)
            return {"loss": told["discriminator"] + loss, **told, "generator": loss}

    def _told_apart(self, real: Array, made: Array) -> tuple[dict[str, Array], Mapping[str, Array]]:
        """The discriminator's loss and probabilities, and its gradient."""
        discriminator, xp = self.engines["discriminator"], self.gan.device.xp
        scores, back = discriminator.forward(real, train=True)
        of_real, d = real_loss(scores, self.real_label)
        _, grads = back(d, need_dx=False)
        kept = self._of_real
        if isinstance(grads, FlatParams):
            kept.flat[...] = grads.flat
        else:
            kept.gather(grads)
        others, back = discriminator.forward(made, train=True)
        of_made, d = fake_loss(others)
        _, grads = back(d, need_dx=False)
        if isinstance(grads, FlatParams):
            kept.flat += grads.flat
        else:
            for name, more in grads.items():
                kept[name] += more
        means = {"d_real": xp.mean(sigmoid(scores)), "d_fake": xp.mean(sigmoid(others))}
        return {"discriminator": of_real + of_made, **means}, kept

    def _update(self, name: str, loss: Array) -> None:
        """Update a network, unless the Trainer ends: it looks at what is told of a step."""
        if self.gan.device.is_host and not isfinite(loss):
            return
        assert self._grads is not None
        self.updating = True
        self.optimizers[name].update(self.networks[name].params, self._grads[name])

    def describe(self) -> dict[str, str | int]:
        """Tell what the record of a run should say of what computes, for the larger network."""
        return self.engines["generator"].describe()


def checked_images(gan: DCGAN, x: Any) -> Any:
    """Images as they were given, of the shape of the discriminator's.

    Raises
    ------
    ArgumentError
        They are of another shape, or neither pixels nor floats from 0 to 1.
    """
    shape = tuple(np.shape(x))
    if shape[1:] != gan.input_shape:
        wanted = ", ".join(map(str, gan.input_shape))
        raise ArgumentError(
            f"images (N, {wanted}) are needed, got {shape}; scale them, or make a DCGAN for their "
            "size"
        )
    check_scaled(x)
    return x
