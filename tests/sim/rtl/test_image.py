import numpy as np
import pytest

from sim.rtl.image import read_image, write_image


@pytest.mark.parametrize("word_bytes", [8, 64])
@pytest.mark.parametrize("length", [1, 64, 1000])
def test_what_is_written_reads_back(tmp_path, word_bytes, length):
    memory = np.random.default_rng(length).integers(0, 256, length, np.uint8)
    memory[length // 3:length // 2] = 0
    write_image(tmp_path / "m", memory, word_bytes)
    assert (read_image(tmp_path / "m", word_bytes, length) == memory).all()


def test_zeros_are_left_out(tmp_path):
    memory = np.zeros(1 << 20, np.uint8)
    memory[-1] = 0xAB
    write_image(tmp_path / "m", memory, 8)
    assert (tmp_path / "m").read_text() == "@1ffff\nab00000000000000\n"
    write_image(tmp_path / "m", np.zeros(16, np.uint8), 8)
    assert not read_image(tmp_path / "m", 8, 16).any()


def test_comments_and_a_first_word(tmp_path):
    (tmp_path / "m").write_text("// 0x0\n0102 // low byte last\n03\n")
    assert read_image(tmp_path / "m", 2, 8, first=1).tolist() == [0, 0, 2, 1, 3, 0, 0, 0]


@pytest.mark.parametrize("text", ["zz\n", "@4\n0000\n", "@3\n0000\n0000\n"])
def test_what_does_not_fit_is_refused(tmp_path, text):
    (tmp_path / "m").write_text(text)
    with pytest.raises(ValueError, match=r"must hold hexadecimal words within 8 bytes$"):
        read_image(tmp_path / "m", 2, 8)
