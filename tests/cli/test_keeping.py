"""What commands keep of pictures."""

from xpnet.cli.keeping import Kept


def test_no_picture_has_the_files_of_another(tmp_path):
    kept = Kept(str(tmp_path / "new"), "segment", "-mask.png")
    stems = []
    for name in ("a-3", "a", "a", "a"):
        stems.append(kept.stem(name))
        (kept.directory / f"{stems[-1]}-mask.png").touch()
    assert stems == ["a-3", "a", "a-4", "a-5"]
