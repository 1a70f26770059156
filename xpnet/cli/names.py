"""Names of arguments, in the texts of the library, as the command line has them."""

import re
from collections.abc import Sequence

import click

ONLY_IN_PYTHON = (
    '; name the layers yourself, StyleLayers(("relu1",), "relu2")',
    ", or clip_norm",
    ", keep the data on the host (Trainer's resident=False)",
    ", load_model(path, model=...)",
    "; strict=False leaves it as it is",
    "; strict=False leaves what is missing as it is",
    "; strict=False passes it over",
)
"""Advice that no option can follow."""


def in_options(message: str, params: Sequence[click.Parameter], given: Sequence[str] = ()) -> str:
    """Write names of arguments as the options that they are, `batch_size=1` as `--batch-size 1`.

    A name of one word is one only before =, behind "leave out", or where a message begins by it.
    What only Python can be told is left out. What was given, such as a directory lr=0.1, stays as
    it is.
    """
    for advice in ONLY_IN_PYTHON:
        message = message.replace(advice, "")
    texts = {part for text in given for part in (text, re.sub("^--[^=]*=", "", text))}
    names = [str(param.name) for param in params]
    kept = [text for text in texts if any(name in text for name in names)]
    if kept:
        either = "|".join(map(re.escape, sorted(kept, key=len, reverse=True)))
        parts = re.split(f"({either})", message)
        parts[::2] = [in_options(part, params) if part else "" for part in parts[::2]]
        return "".join(parts)
    for param in params:
        name, option = str(param.name), max(param.opts, key=len)
        alone = rf"(?<![-\w./?&]){name}"  # and no part of a path or URL
        if getattr(param, "is_flag", False):
            message = re.sub(rf"{alone}=\w+", option, message)
        message = re.sub(f'{alone}="([^"]*)"', rf"{option} \1", message)
        message = re.sub(f"{alone}=", f"{option} ", message)
        word = (
            rf"{alone}\b" if "_" in name else rf"^{name}(?= must be| needs)|(?<=leave out ){name}\b"
        )
        message = re.sub(word, option, message)
    return message
