import pytest

from xpnet.files.texts import read_json


def test_json_is_read_within_bounds(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, "é"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, "é"]}
    assert read_json(str(path), limit=path.stat().st_size) == read_json(path)
    for limit, text, message in [
        (20, path.read_text(encoding="utf-8"), "it has more than 20 bytes"),
        (10**6, "[" * 100_000, "it is nested too deeply"),
        (10**6, "9" * 5000, "Exceeds the limit"),
        (10**6, "{", "Expecting property name"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_json(path, limit=limit)
    with pytest.raises(OSError, match="No such file"):
        read_json(tmp_path / "no")
