"""The locks that `make` installs from have the versions of constraints.txt, each with the hashes of its files."""

import re

from program import ROOT

LOCKS = ("requirements.lock", "requirements-system.lock")
NOT_LOCKED = {"torch"}  # each kind of machine has its own build


def canonical(name: str) -> str:
    """A package's name as indexes have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: str) -> dict[str, tuple[str, int]]:
    """Of each package of a lock its version and how many hashes it has."""
    packages: dict[str, tuple[str, int]] = {}
    for block in re.split(r"\n(?=[^\s#])", (ROOT / file).read_text()):
        pinned = re.match(r"([\w.-]+)==([^\s;]+)", block)
        if pinned:
            packages[canonical(pinned[1])] = pinned[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))
        else:
            assert block.startswith("#"), f"{block[:80]}: neither a pinned package nor a comment"
    return packages


def test_the_locks_have_the_versions_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = dict(line.split("==") for line in lines if not line.startswith("#"))
    wanted = {canonical(name): version for name, version in constraints.items() if name not in NOT_LOCKED}
    found = {name: version for file in LOCKS for name, (version, _) in locked(file).items()}
    assert {name: found.get(name) for name in wanted} == wanted, "`make lock` has not been run"


def test_each_package_of_the_locks_has_hashes() -> None:
    for file in LOCKS:
        for name, (_, hashes) in locked(file).items():
            assert hashes >= 1, f"{file}: {name} has no hash"
    assert not set(locked(LOCKS[0])) & set(locked(LOCKS[1])), "a package is in both"
