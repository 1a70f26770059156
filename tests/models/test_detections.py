import re

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.models.detections import NOTHING, Objects, checked_objects, table_of

NONE = np.zeros((0, 4)), np.zeros(0, dtype=np.int64)


def test_tables_have_room_for_the_fullest_picture():
    boxes = np.arange(12.0).reshape(3, 4)
    objects = [Objects(boxes[:1], np.array([7])), Objects(*NONE), Objects(boxes, np.arange(3))]
    table, labels = table_of(objects)
    assert labels.tolist() == [[7, NOTHING, NOTHING], [NOTHING] * 3, [0, 1, 2]]
    np.testing.assert_array_equal(table[2], boxes)
    assert not table[0, 1:].any()
    assert table_of(objects, 5)[0].shape == (3, 5, 4)
    assert table_of([])[0].shape == (0, 0, 4)
    with pytest.raises(ArgumentError, match="a picture has 3 objects, and there is room for 2"):
        table_of(objects, 2)


def test_objects_as_lists_become_arrays():
    found = checked_objects([([[0, 0, 64, 48]], [9]), ([], [])], 2, (1, 48, 64), 10)
    assert found[0].boxes.tolist() == [[0, 0, 64, 48]]
    assert found[0].labels.dtype == found[1].labels.dtype == np.int64
    assert found[1].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "labels", "text"),
    [
        ([[0, 0, 65, 9]], [0], "within the picture of 48 x 64, got (0, 0, 65, 9) in picture 0"),
        ([[0, 0, 9, 49]], [0], "got (0, 0, 9, 49)"),
        ([[-1, 0, 9, 9]], [0], "got (-1, 0, 9, 9)"),
        ([[0, 0, 9, 9], [3, 3, 3, 9]], [0, 0], "got (3, 3, 3, 9)"),
        ([[9, 9, 3, 12]], [0], "got (9, 9, 3, 12)"),
        ([[0, 0, np.nan, 9]], [0], "got (0.0, 0.0, nan, 9.0)"),
        ([[0, 0, 9, 9]], [10], "whole numbers from 0 to 9, got [10] in picture 0"),
        ([[0, 0, 9, 9]], [-1], "whole numbers from 0 to 9, got [-1]"),
        ([[0, 0, 9, 9]], [0.5], "whole numbers from 0 to 9, got [0.5]"),
        ([[0, 0, 9, 9]], [1, 2], "boxes (n, 4) and labels (n,), got (1, 4) and (2,)"),
        ([0, 0, 9, 9], [1], "boxes (n, 4) and labels (n,), got (4,) and (1,)"),
        ([], [1], "got (0, 4) and (1,)"),
    ],
)
def test_wrong_objects(boxes, labels, text):
    with pytest.raises(ArgumentError, match=re.escape(text)):
        checked_objects([(boxes, labels)], 1, (1, 48, 64), 10)


def test_objects_for_each_picture():
    with pytest.raises(ArgumentError, match="for each of 2 pictures, got those of 1"):
        checked_objects([NONE], 2, (1, 48, 64), 10)


@pytest.mark.parametrize("given", [5, [None], [[[1, 1, 5, 20]]], [np.zeros(3)]])
def test_what_is_no_list_of_objects(given):
    with pytest.raises(ArgumentError, match="a list with boxes"):
        checked_objects(given, 1, (1, 48, 64), 10)
