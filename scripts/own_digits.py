"""Are pictures of one's own digits read, however they were drawn and photographed?

    python scripts/own_digits.py --data mnist --out scripts/results/own_digits
    python scripts/own_digits.py --data mnist --weights runs/mine/model.safetensors

200 of MNIST's test digits are each made into a picture of every kind of damage in `_own_digits.py`,
written to a file, and read by the network: the one of `xpnet train --epochs 3`, if none is given.
Of each kind, 95 % of what is read of undamaged pictures must be read, or 95 % of the wrong answers
must come with a warning; of undamaged pictures 5 % may be warned of. Exit code 1 if not.

Which answers are warned of was chosen on training digits alone: `SURE` of `xpnet.report.evaluate`
is the largest probability, in steps of 0.05, by which at most 3 % of them are. The page shows how.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from _own_digits import KINDS, as_it_is, plain
from xpnet.bench import machine
from xpnet.errors import DataError
from xpnet.files.atomic import atomic_write, write_text
from xpnet.files.pictures import read_picture_with_remarks
from xpnet.functions.activations import softmax
from xpnet.models import load_network
from xpnet.models.network import Network
from xpnet.report.evaluate import SURE, doubt
from xpnet.report.script import FAILED, Script, open_data

ALL = {"as in MNIST": as_it_is, "undamaged": plain, **KINDS}
ENOUGH, ALARMS = 0.95, 0.05
CHOSEN_BY = 0.03
TRAINING = ["--model", "simple-convnet", "--epochs", "3", "--device", "cpu", "--seed", "0"]
THUMB, COLUMNS = 112, 6

Record = dict[str, Any]


class Answers:
    """What a network reads in pictures of one kind, which are made one after the other."""

    def __init__(self, kind: str, digits: np.ndarray, labels: np.ndarray, seed: int) -> None:
        self.kind, self.digits, self.labels = kind, digits, labels
        self.seed = [seed, list(ALL).index(kind)]
        self.images = np.zeros((len(digits), 1, 28, 28), np.float32)
        self.remarks: list[list[str]] = []

    def picture(self, number: int) -> Image.Image:
        """Make the picture of a digit; the same whenever it is made."""
        return ALL[self.kind](self.digits[number], np.random.default_rng([*self.seed, number]))

    def read(self, network: Network, place: Path) -> None:
        """Write all pictures, and read them; one that is refused is a wrong answer with a word."""
        path, refused = place / "picture.png", np.zeros(len(self.digits), bool)
        for number in range(len(self.digits)):
            self.picture(number).save(path)
            try:
                self.images[number], remarks = read_picture_with_remarks(path)
            except DataError as error:
                refused[number], remarks = True, [str(error)]
            self.remarks.append(remarks)
        parts = np.array_split(self.images, 1 + len(refused) // 200)
        self.shares = softmax(np.concatenate([network.predict(part) for part in parts]))
        self.read_as = np.where(refused, -1, np.argmax(self.shares, axis=1))
        self.right = self.read_as == self.labels
        self.warned = np.array(
            [bool(told or doubt(row)) for told, row in zip(self.remarks, self.shares, strict=True)]
        )

    def record(self) -> Record:
        """Count."""
        wrong = ~self.right
        return {
            "kind": self.kind,
            "what": (ALL[self.kind].__doc__ or "").strip(),
            "right": int(self.right.sum()),
            "wrong": int(wrong.sum()),
            "wrong_warned": int((wrong & self.warned).sum()),
            "right_warned": int((self.right & self.warned).sum()),
        }


def trained(options: argparse.Namespace, place: Path) -> Path:
    """Train the network, as the command line does."""
    data = ["--data", options.data, *(["--data-dir", options.data_dir] if options.data_dir else [])]
    command = [sys.executable, "-m", "xpnet", "train", *TRAINING, *data, "--out", place / "run"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return place / "run" / "model.safetensors"


def chosen(answers: Answers) -> Record:
    """Show what each threshold would do to undamaged pictures of training digits."""
    sure, wrong = answers.shares.max(axis=1), ~answers.right
    told = np.array([bool(remarks) for remarks in answers.remarks])
    rows = []
    for threshold in np.arange(50, 100, 5) / 100:
        unsure = sure < threshold
        rows.append(
            {
                "threshold": float(threshold),
                "unsure": float(unsure.mean()),
                "warned": float((unsure | told).mean()),
                "wrong_warned": float((unsure | told)[wrong].mean()) if wrong.any() else 1.0,
            }
        )
    fit = [row["threshold"] for row in rows if row["warned"] <= CHOSEN_BY]
    return {"digits": len(sure), "rows": rows, "chosen": max(fit, default=None), "used": SURE}


def judge(kinds: list[Record]) -> None:
    """Say of each kind whether enough is read, or enough of what is wrong warned of."""
    undamaged = next(row for row in kinds if row["kind"] == "undamaged")
    for row in kinds:
        if ALL[row["kind"]] in (as_it_is, plain):
            warned = row["right_warned"] + row["wrong_warned"]
            row["met"] = warned <= ALARMS * (row["right"] + row["wrong"])
        else:
            row["met"] = (
                row["right"] >= ENOUGH * undamaged["right"]
                or row["wrong_warned"] >= ENOUGH * row["wrong"]
            )


def page(record: Record) -> str:
    """Show what is in the record to people."""
    digits, kinds, choice = record["digits"], record["kinds"], record["threshold"]
    undamaged = next(row for row in kinds if row["kind"] == "undamaged")
    lines = [
        *machine.heading("Pictures of one's own digits", "own_digits.py", record),
        f"{digits} test digits of {record['data']}, seed {record['seed']}, the same for each kind, "
        f"read by {record['network']}. Goals: of each kind of damage {ENOUGH:.0%} of the "
        f"{undamaged['right']} that are read undamaged, {ENOUGH * undamaged['right']:.0f}, or "
        f"{ENOUGH:.0%} of its wrong answers with a warning; of undamaged pictures at most "
        f"{ALARMS:.0%} with a warning. {sum(row['met'] for row in kinds)} of {len(kinds)} are met.",
        "",
        f"| Kind | What | Right of {digits} | Wrong, of them warned of | Right, but warned of | |",
        "|---|---|---|---|---|---|",
    ]
    for row in kinds:
        state = "met" if row["met"] else "**missed**"
        lines.append(
            f"| {row['kind']} | {row['what']} | {row['right']} | {row['wrong']}, "
            f"{row['wrong_warned']} | {row['right_warned']} | {state} |"
        )
    lines += [
        "",
        "An example of each kind, what was made of it, and what it was read as:",
        "",
        "![examples](own_digits.png)",
        "",
        "## When an answer is not sure",
        "",
        f"{choice['digits']} training digits, undamaged. Pictures are warned of where the "
        "likeliest digit's probability is below the threshold, or where there are several pieces "
        f"of ink or an uneven ground. The largest threshold by which at most {CHOSEN_BY:.0%} are "
        f"warned of is {choice['chosen']}; in use is {choice['used']}.",
        "",
        "| Threshold | Unsure | Warned of | Of the wrong answers, warned of |",
        "|---|---|---|---|",
    ]
    for row in choice["rows"]:
        shares = " | ".join(f"{row[key]:.1%}" for key in ("unsure", "warned", "wrong_warned"))
        lines.append(f"| {row['threshold']:.2f} | {shares} |")
    return "\n".join(lines) + "\n"


def sheet(kinds: list[Answers]) -> Image.Image:
    """Draw an example of each kind, the image made of it, and the answer."""
    width, height = 2 * THUMB + 10, THUMB + 34
    rows = -(-len(kinds) // COLUMNS)
    drawing = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    pen = ImageDraw.Draw(drawing)
    for place, answers in enumerate(kinds):
        number = place % len(answers.digits)
        left, top = place % COLUMNS * width, place // COLUMNS * height
        picture = answers.picture(number)
        if picture.mode.startswith("I"):
            picture = Image.fromarray(np.asarray(picture).astype(np.uint8))
        if picture.has_transparency_data:  # as a program in dark mode shows it
            picture = Image.alpha_composite(
                Image.new("RGBA", picture.size, "dimgray"), picture.convert("RGBA")
            )
        drawing.paste(picture.convert("RGB").resize((THUMB, THUMB)), (left, top))
        image = Image.fromarray(np.round(255 * answers.images[number, 0]).astype(np.uint8))
        near = image.resize((THUMB, THUMB), Image.Resampling.NEAREST)
        drawing.paste(near.convert("RGB"), (left + THUMB, top))
        answer = answers.read_as[number]
        said = f"read as {answer}" if answer >= 0 else "refused"
        if not answers.right[number]:
            said += f", is {answers.labels[number]}"
        if answers.warned[number]:
            said += ", warned of"
        pen.text((left + 2, top + THUMB + 2), answers.kind, "black")
        pen.text((left + 2, top + THUMB + 15), said, "black" if answers.right[number] else "red")
    return drawing


def answer(options: argparse.Namespace) -> None:
    """Make pictures, read them, count and write; exit 1 where a goal is missed."""
    data = open_data(options)
    x, x_test = (part.reshape(-1, 28, 28) for part in (data.x_train, data.x_test))
    rng = np.random.default_rng(options.seed)
    test = rng.permutation(len(x_test))[: options.count]
    with tempfile.TemporaryDirectory() as place:
        weights = options.weights or trained(options, Path(place))
        network = load_network(weights)
        of_training = Answers(
            "undamaged", x[: options.training], data.t_train[: options.training], options.seed
        )
        of_training.read(network, Path(place))
        kinds = []
        for kind in ALL:
            answers = Answers(kind, x_test[test], data.t_test[test], options.seed)
            answers.read(network, Path(place))
            print(f"{kind}: {int(answers.right.sum())} of {len(test)}", flush=True)
            kinds.append(answers)
    by = (
        f"the network of {options.weights.name}"
        if options.weights
        else f"`xpnet train {' '.join(TRAINING)}`"
    )
    record: Record = {
        **machine.description(),
        "data": data.name,
        "seed": options.seed,
        "digits": len(test),
        "network": by,
        "threshold": chosen(of_training),
        "kinds": [answers.record() for answers in kinds],
    }
    judge(record["kinds"])
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "own_digits.json", json.dumps(record, indent=2) + "\n")
    write_text(options.out / "README.md", page(record))
    with atomic_write(options.out / "own_digits.png") as temporary:
        sheet(kinds).save(temporary, format="PNG")
    missed = [row["kind"] for row in record["kinds"] if not row["met"]]
    print(f"missed: {', '.join(missed) or 'none'}; see {options.out / 'README.md'}")
    if missed:
        sys.exit(FAILED)


def main() -> None:
    """Take the flags and answer."""
    script = Script(__doc__, "data", "seed", out="own_digits")
    script.add_argument("--weights", type=Path, help="of a trained network; else one is trained")
    script.add_argument("--count", type=int, default=200, help="test digits")
    script.add_argument("--training", type=int, default=4000, help="training digits, to choose by")
    script.run(answer)


if __name__ == "__main__":
    main()
