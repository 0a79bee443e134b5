"""Text of any encoding as a stream of UTF-8: read in small parts it is what it is as a whole."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppo_tune.data.text_streams import utf8_stream
from ppo_tune.errors import DataError

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252", "shift_jis", "gb18030", "utf-7")

law = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppo_tune.data.text_streams.BYTES_AT_ONCE", 16)


@law
@given(st.text(st.sampled_from("aé€ж語😀\r\n\ufeff"), max_size=60), st.sampled_from(ENCODINGS), st.booleans())
def test_whatever_the_encoding_all_of_the_text_is_read(
    tmp_path: Path, text: str, encoding: str, zipped: bool
) -> None:
    content = text.encode(encoding, errors="ignore")
    file = tmp_path / ("a.csv.gz" if zipped else "a.csv")
    file.write_bytes(gzip.compress(content) if zipped else content)

    read = utf8_stream(file, encoding).read().decode()

    assert read == content.decode(encoding).removeprefix("\ufeff")


@law
@given(st.text(st.sampled_from("aé語😀\r\n"), max_size=60))
def test_utf_16_is_known_by_its_mark_and_utf_8_needs_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text("ab" + text, encoding="utf-8", newline="")
    (tmp_path / "b.csv").write_text("ab" + text, encoding="utf-16", newline="")

    assert utf8_stream(tmp_path / "a.csv", None).read() == ("ab" + text).encode()
    assert utf8_stream(tmp_path / "b.csv", None).read() == ("ab" + text).encode()


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "utf-8"])
def test_the_byte_and_the_line_are_those_of_the_file_wherever_the_parts_end(
    tmp_path: Path, encoding: str
) -> None:
    for n in range(40):
        content = b"a\n" * n + b"bc\xff\x81\n"
        if encoding == "cp1252":
            content = content.replace(b"\xff", b"d")
        (tmp_path / "a.csv").write_bytes(content)

        with pytest.raises(DataError) as caught:
            utf8_stream(tmp_path / "a.csv", encoding).read()

        byte = 2 * n + (3 if encoding == "cp1252" else 2)
        assert f"a.csv:{n + 1}: byte {byte} is no text of encoding {encoding} (" in str(caught.value)


def test_a_file_of_gzip_that_ends_too_early_is_refused_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"abc\n" * 99)[:-9])
    stream = utf8_stream(tmp_path / "a.jsonl.gz", None)

    assert stream.readline() == b"abc\n"
    with pytest.raises(DataError, match=r"not a file that gzip made: Compressed file ended before"):
        stream.read()
