"""A page that says what is not so fails: what the other tests of pages rest on."""

from pathlib import Path

import pytest

from tests.docs.blocks import Reader, blocks_of

RIGHT = """
Some text.

```python
numbers = [1, 2]
sum(numbers)  # 3
numbers.clear()  # a comment, and no value
```

1. In a list:

    ```python
    print("three rows in 5 ms")
    ```

    ```text title="Output"
    three rows in 70 s
    ```

```ipython
%time numbers.append(3)
numbers
```

```python title="Not run by the tests: there is no such thing here"
launch_a_rocket()
```
"""


def _read(text: str, place: Path) -> Reader:
    page = place / "page.md"
    page.write_text(text)
    reader = Reader()
    for block in blocks_of(page):
        reader.read(block)
    return reader


def test_a_page_that_is_right_is_read_to_its_end(tmp_path: Path) -> None:
    reader = _read(RIGHT, tmp_path)
    assert reader.names["numbers"] == [3]
    assert reader.checked == 2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("# 3", "# 4"),
        ("three rows in 70 s", "four rows in 70 s"),
        ("three rows in 70 s", ""),
        ("numbers.append(3)", "numbers.append(unknown)"),
        ("numbers = [1, 2]", "numbers = [1, '2']"),
        ("# 3", "# 3 or so"),
        ("launch_a_rocket()", "launch a rocket"),
    ],
)
def test_a_page_that_is_wrong_is_not(tmp_path: Path, right: str, wrong: str) -> None:
    assert RIGHT.count(right) == 1
    with pytest.raises((AssertionError, TypeError, SyntaxError, ValueError)):
        _read(RIGHT.replace(right, wrong), tmp_path)
