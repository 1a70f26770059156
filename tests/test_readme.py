"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says(capsys):
    code, shown = re.search(r"```python\n(.*?)```\n\nprints\n\n(.*?)\n\n", README, re.S).groups()
    exec(compile(code, "README.md", "exec"), {})
    printed = [float(number) for number in capsys.readouterr().out.split()]
    # Processors round differently, and after a while that changes a few images of 2,000.
    assert printed == pytest.approx([float(number) for number in shown.split()], abs=0.01)


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
