"""Philox against its known answers, and uniform numbers that depend on what they are for alone."""

import itertools

import pytest
import torch

from ratespike.random import philox, uniform

# Known answers of Philox4x32-10, from the file kat_vectors of Random123 (D. E. Shaw Research).
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_its_known_answers(counter: str, key: str, expected: str) -> None:
    a, b, c, d = (torch.tensor(word) for word in from_hexadecimal(counter))
    key_a, key_b = from_hexadecimal(key)
    result = philox((a, b, c, d), (key_a, key_b))
    assert [int(word) for word in result] == from_hexadecimal(expected)


def from_hexadecimal(words: str) -> list[int]:
    return [int(word, 16) for word in words.split()]


def test_uniform_numbers_are_uniform_and_independent() -> None:
    numbers = uniform(3, torch.arange(100), 1001, (1, 0)).double()
    assert numbers.shape == (100, 1001)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert float(numbers.mean()) == pytest.approx(0.5, abs=5 / (12 * numbers.numel()) ** 0.5)
    between_images = torch.corrcoef(numbers).fill_diagonal_(0)
    between_neurons = torch.corrcoef(numbers.T).fill_diagonal_(0)
    assert between_images.abs().max() < 6 / 1001**0.5
    assert between_neurons.abs().max() < 7 / 100**0.5


def test_uniform_numbers_depend_on_each_of_seed_image_and_purpose() -> None:
    image = torch.tensor([5])
    draws = {
        "first": uniform(0, image, 64, (0, 0)),
        "seed": uniform(1, image, 64, (0, 0)),
        "seed of more than 32 bits": uniform(2**40, image, 64, (0, 0)),
        "image": uniform(0, image + 1, 64, (0, 0)),
        "first word of the purpose": uniform(0, image, 64, (1, 0)),
        "second word of the purpose": uniform(0, image, 64, (0, 1)),
    }
    for (one, numbers), (other, others) in itertools.combinations(draws.items(), 2):
        assert not torch.equal(numbers, others), f"{one} and {other} are the same numbers"


def test_uniform_numbers_do_not_depend_on_the_batch() -> None:
    alone = uniform(0, torch.tensor([5]), 64, (0, 0))
    second_of_two = uniform(0, torch.tensor([7, 5]), 64, (0, 0))[1:]
    assert torch.equal(second_of_two, alone)
