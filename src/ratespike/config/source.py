"""What a module declares, read from its source: the command line answers a wrong value before anything heavy is imported.

A neuron states the range of each parameter once, in its class statement: `tau_rc: float = parameter(0.02, above=0, unit="s")`.
Importing that class imports PyTorch, which takes seconds. Parsing the class statement takes milliseconds and gives the same
field, as long as its arguments are literals; fields that are not are left to the check that follows the import.
"""

import ast
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratespike.parameters import ParameterError, check_parameters, parameter

_PACKAGE = Path(__file__).parents[1]
_FAMILIES = {
    "data": "data",
    "augmentation": "data/augmentation.py",
    "neuron": "neurons",
    "synapse": "synapses.py",
    "conversion": "conversion/methods",
    "forward": "pipeline/forwards.py",
    "loss": "pipeline/losses.py",
    "rate_control": "pipeline/rate_control.py",
    "optimizer": "pipeline/optimizers.py",
    "layer": "network.py",
}
_TYPES = {"float": float, "int": int, "str": str, "bool": bool}


def constant(module: str, name: str) -> Any:
    """The value of a literal that a module assigns to a name, read from its source.

    Args:
        module: path of the module below the package, such as `simulation/start.py`.
        name: the name at module level.

    Raises:
        LookupError: the module assigns no literal to that name.

    Example:
        >>> "uniform" in constant("simulation/start.py", "STARTS")
        True
    """
    for node in _parsed(_PACKAGE / module).body:
        if isinstance(node, ast.Assign) and _assigns_to(node, name):
            return ast.literal_eval(node.value)
    raise LookupError(f"{module} assigns no literal to {name}")


def check_declared(config: Mapping[str, Any]) -> None:
    """Check the values of the groups with a `type` against the ranges that the class of that name declares.

    Args:
        config: the whole configuration as nested dictionaries.

    Raises:
        ParameterError: a value out of range, with the same words as when the object is made.

    Example:
        >>> check_declared({"neuron": {"type": "LIF", "tau_rc": -1}})
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: neuron.tau_rc=-1: must be a number above 0 (s); the default is 0.02
    """
    families = ("data", "augmentation", "neuron", "synapse", "conversion", "forward", "loss", "rate_control", "optimizer")
    for family in families:
        _check_group(family, config.get(family), family)
    for name, layer in config.get("network", {}).get("layers", {}).items():
        _check_group("layer", layer, f"network.layers.{name}")


def _check_group(family: str, group: object, path: str) -> None:
    if not isinstance(group, Mapping):
        return
    for key, value in group.items():
        if key in _FAMILIES:  # a neuron of a layer's own, or the neuron whose rate another one has
            _check_group(key, value, f"{path}.{key}")
    declared = _declared_fields(family, str(group.get("type")))
    given = {key: value for key, value in group.items() if key in declared}
    fields = [(key, *declared[key]) for key in given]
    stand_in = dataclasses.make_dataclass("StandIn", fields, kw_only=True)
    try:
        check_parameters(stand_in(**given))
    except ParameterError as error:
        raise ParameterError(f"{path}.{error}") from None


@functools.cache
def _declared_fields(family: str, class_name: str) -> dict[str, tuple[Any, Any]]:
    """Type and dataclass field of each parameter of a class, its base classes' first; empty for an unknown class."""
    fields: dict[str, tuple[Any, Any]] = {}
    declaration = _class_statement(_PACKAGE / _FAMILIES[family], class_name)
    if declaration is None:
        return fields
    for base in declaration.bases:
        fields |= _declared_fields(family, ast.unparse(base))
    for statement in declaration.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            declared = _literal_parameter(statement)
            if declared is not None:
                fields[statement.target.id] = declared
    return fields


def _class_statement(place: Path, name: str) -> ast.ClassDef | None:
    """The class of this name in a module, or in any module of a folder."""
    modules = sorted(place.glob("*.py")) if place.is_dir() else [place]
    for path in modules:
        if f"class {name}" not in path.read_text(encoding="utf-8"):
            continue  # parsing takes most of the time
        for node in _parsed(path).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
    return None


def _literal_parameter(statement: ast.AnnAssign) -> tuple[Any, Any] | None:
    """Type and field of `name: type = parameter(...)`; None for another statement, or where something is no literal."""
    call = statement.value
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != "parameter":
        return None
    try:
        annotation = functools.reduce(lambda left, right: left | right, _types(statement.annotation))
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except ValueError:
        return None
    return annotation, parameter(*arguments, **keywords)


def _types(annotation: ast.expr) -> list[Any]:
    """The types in `float`, `int | None` and the like; raises `ValueError` for any other annotation."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_types(annotation.left), *_types(annotation.right)]
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return [None]
    if isinstance(annotation, ast.Name) and annotation.id in _TYPES:
        return [_TYPES[annotation.id]]
    raise ValueError(ast.unparse(annotation))


def _assigns_to(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
