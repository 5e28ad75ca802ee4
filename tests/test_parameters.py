"""Ranges of parameters, and objects built from configuration, with two classes made for the purpose."""

from dataclasses import dataclass

import pytest

from ratespike.parameters import ParameterError, build, check_parameters, kinds, parameter


@dataclass(kw_only=True)
class Shape:
    colour: str = parameter("red", choices=("red", "blue"))

    def __post_init__(self) -> None:
        check_parameters(self)


@dataclass(kw_only=True)
class Circle(Shape):
    radius: float = parameter(above=0, at_most=10, unit="m")
    sides: int | None = parameter(None, at_least=3)


def test_build_makes_the_named_class() -> None:
    circle = build(Shape, {"type": "Circle", "radius": 2, "colour": "blue"}, "shape")
    assert isinstance(circle, Circle)
    assert circle.radius == 2
    assert circle.colour == "blue"
    assert circle.sides is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "Circel", "radius": 1}, "shape.type=Circel: did you mean Circle\\? known: Circle, Shape"),
        ({"type": "Circle", "radus": 1}, "shape.radus: Circle has no such parameter; did you mean radius?"),
        ({"type": "Circle"}, "shape: Circle missing 1 required keyword-only argument: 'radius'"),
        ({"type": "Circle", "radius": 0}, r"shape.radius=0: must be a number above 0 and at most 10 \(m\)"),
        ({"type": "Circle", "radius": 11}, "shape.radius=11: must be"),
        ({"type": "Circle", "radius": "wide"}, "shape.radius=wide: must be a number"),
        ({"type": "Circle", "radius": float("nan")}, "shape.radius=nan: must be a number"),
        ({"type": "Circle", "radius": True}, "shape.radius=True: must be a number"),
        ({"type": "Circle", "radius": 1, "sides": 2.5}, "shape.sides=2.5: must be a whole number at least 3 or null"),
        (
            {"type": "Circle", "radius": 1, "colour": "green"},
            "shape.colour=green: must be one of red, blue",
        ),
    ],
)
def test_a_wrong_configuration_is_reported_in_one_line(config: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        build(Shape, config, "shape")
    assert "\n" not in str(caught.value), "the error takes more than one line"


def test_kinds_finds_subclasses() -> None:
    assert set(kinds(Shape)) == {"Shape", "Circle"}
