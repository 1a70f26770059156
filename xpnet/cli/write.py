"""`xpnet write`."""

import click

from xpnet.arrays import get_device
from xpnet.arrays.random import WORD
from xpnet.cli.options import PATH, Count, FiniteRange, Text, device_line, device_option
from xpnet.errors import shown
from xpnet.notice import notice
from xpnet.train.writing import load_character_model


@click.command()
@device_option
@click.option(
    "--prompt",
    type=Text(),
    help="The text goes on from this one; by default it begins a line.",
)
@click.option(
    "--length",
    type=Count(),
    default=500,
    metavar="N",
    help="N characters are written.",
)
@click.option(
    "--temperature",
    type=FiniteRange(min=0),
    default=1.0,
    metavar="T",
    help="Scores are divided by T: below 1 likely characters become likelier, and at 0 the "
    "likeliest is always taken.",
)
@click.option(
    "--seed",
    type=Count(0, WORD),
    default=0,
    metavar="N",
    help="What is written is repeatable: N decides it.",
)
@click.argument("weights", type=PATH, metavar="RUN")
def write(
    device: str, prompt: str | None, length: int, temperature: float, seed: int, weights: str
) -> None:
    """Write a text like the one that a network has learned.

    RUN is the directory of a run of --model character-model, its model.safetensors, or a
    checkpoint. Standard output has the prompt and what follows, character by character as it is
    drawn.
    """
    model = load_character_model(weights, device=get_device(device))
    if device == "auto":
        notice(device_line(model.network.device))
    written = model.write(length, prompt or "", temperature=temperature, seed=seed)
    click.echo(prompt or "", nl=False)
    for character in written:  # which a file may have any of, also those that move a cursor
        click.echo(character if character in "\n\t" else shown(character), nl=False)
    click.echo()
