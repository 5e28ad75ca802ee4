import pytest
import torch

from ratespike.simulation.random import philox, uniform

# Known answers of Philox4x32-10, from the file kat_vectors of Random123 (D. E. Shaw Research).
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_its_known_answers(counter: str, key: str, expected: str) -> None:
    words = [torch.tensor(int(word, 16)) for word in counter.split()]
    first, second = (int(word, 16) for word in key.split())
    result = philox((words[0], words[1], words[2], words[3]), (first, second))
    assert [f"{int(word):08x}" for word in result] == expected.split()


def test_uniform_numbers_are_uniform_and_independent() -> None:
    numbers = uniform(3, torch.arange(100), 1, 1001).double()
    assert numbers.shape == (100, 1001) and numbers.min() >= 0 and numbers.max() < 1
    assert float(numbers.mean()) == pytest.approx(0.5, abs=5 / (12 * numbers.numel()) ** 0.5)
    rows, columns = torch.corrcoef(numbers).fill_diagonal_(0), torch.corrcoef(numbers.T).fill_diagonal_(0)
    assert rows.abs().max() < 6 / 1001**0.5 and columns.abs().max() < 7 / 100**0.5


def test_uniform_numbers_depend_on_each_of_seed_image_layer_and_purpose() -> None:
    image = torch.tensor([5])
    draws = [uniform(0, image, 0, 64), uniform(1, image, 0, 64), uniform(2**40, image, 0, 64)]
    draws += [uniform(0, image + 1, 0, 64), uniform(0, image, 1, 64), uniform(0, image, 0, 64, purpose=1)]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws)
    assert torch.equal(uniform(0, torch.tensor([7, 5]), 0, 64)[1:], draws[0])
