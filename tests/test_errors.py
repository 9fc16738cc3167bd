import pytest

from gia_mic.extract.errors import first_line, one_line, words_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [("no such model", "no such model"), ("\nno such model.\nTry another.", "no such model"), ("", "OSError")],
)
def test_the_first_line_of_an_error_that_may_say_nothing(text, expected):
    assert first_line(OSError(text)) == expected


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "a.h5"), "No space left on device"),
        (OSError("the disk is gone\nfor good"), "the disk is gone"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_systems_words_come_before_the_texts_first_line(error, words):
    assert words_of(error) == words


@pytest.mark.parametrize(
    ("most", "line"), [(3, "0, 1, 2 and 2 more (5 in all)"), (5, "0, 1, 2, 3, 4"), (10, "0, 1, 2, 3, 4")]
)
def test_a_list_is_cut_with_its_total(most, line):
    assert one_line(range(5), most=most) == line
