import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from services import answering

from ratespike.parameters import ParameterError
from ratespike.tracking import address

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "then_wait", "complaint"),
    [
        (b"HTTP/1.1 500 Out Of Order\r\n\r\n", False, "answers 500 Out Of Order"),
        (_OK + b"<html>hello!</", False, "does not answer as a tracking server"),
        (b"220 mail.example.org ESMTP\r\n", False, "does not answer as a tracking server"),
        (b"", False, "does not answer as a tracking server"),
        (b"", True, "does not answer within 0.5 s"),
        (b"HTTP/1.1 200 OK\r\n", True, "does not answer within 0.5 s"),
    ],
)
def test_a_server_that_is_none_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, then_wait: bool, complaint: str
) -> None:
    monkeypatch.setattr(address, "_ANSWER_WITHIN", 0.5 if then_wait else 60)  # a busy machine is no silent server
    with answering(answer, then_wait=then_wait) as uri, pytest.raises(ParameterError, match=f"tracking.uri={uri}: {complaint}"):
        address.check(uri, exists=False)


@pytest.mark.parametrize(
    "answer",
    [_OK + b'{"error": "?"}', b"HTTP/1.1 401 Unauthorized\r\n\r\n", b"HTTP/1.1 404 NOT FOUND\r\nContent-Length: 2\r\n\r\n{}"],
)
def test_a_tracking_server_is_one_without_experiments_and_with_a_password_too(answer: bytes) -> None:
    with answering(answer) as uri:
        address.check(uri, exists=False)


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql+psycopg2", "mysql+pymysql"])
def test_a_server_that_is_not_there_is_refused(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ParameterError, match="cannot be reached"):
        address.check(f"{scheme}://name@127.0.0.1:{port}/runs", exists=False)


@pytest.mark.parametrize(
    "uri", ["sqlite:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:runs?mode=memory&cache=shared&uri=true"]
)
def test_a_database_in_memory_is_refused(uri: str) -> None:
    with pytest.raises(ParameterError, match="is in memory, where runs end with the program"):
        address.check(uri, exists=False)


def test_what_is_no_database_of_mlflow_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder, empty, text, other = (tmp_path / name for name in ("folder", "empty.db", "text.db", "other.db"))
    folder.mkdir()
    empty.touch()
    text.write_text("not a database, but a text of some length")
    with closing(sqlite3.connect(other)) as database:
        database.execute("create table studies (study_id integer)")
        database.execute("create table alembic_version (version_num text)")  # as programs have that are not MLflow
    contents = [path.read_bytes() for path in (empty, text, other)]
    for path, complaint in (
        (folder, "is no file"),
        (empty, "is an empty file; delete it"),
        (text, "cannot be used"),
        (other, r"is a database of another program \(its tables: alembic_version, studies\)"),
    ):
        with pytest.raises(ParameterError, match=complaint):
            address.check(f"sqlite:///{path}", exists=False)
    assert [path.read_bytes() for path in (empty, text, other)] == contents
    assert len(list(tmp_path.iterdir())) == 4


def test_the_wait_for_a_server_ends_when_it_is_back(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(address, "_LOOK_AGAIN", 0.01)
    answers = iter([ParameterError("is away"), ParameterError("is away"), None])

    def check(uri: str, *, exists: bool) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    monkeypatch.setattr(address, "check", check)
    address.wait_for_server("http://127.0.0.1:5000")
    assert next(answers, "all taken") == "all taken"
    assert capfd.readouterr().err == "waiting: is away\n"
    address.wait_for_server("sqlite:///runs.db")  # no server: asks nobody
    monkeypatch.setattr(address, "_COMES_BACK_WITHIN", 0)
    answers = iter([ParameterError("is gone")])
    with pytest.raises(ParameterError, match="is gone"):
        address.wait_for_server("http://127.0.0.1:5000")


@pytest.mark.parametrize("name", ["a%20b", "a?b"])
def test_a_path_that_mlflow_would_read_as_another_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ParameterError, match=r"MLflow takes codes such as %20 and a \? for something else; rename the folder"):
        address.check(f"sqlite:///{tmp_path}/{name}/mlflow.db", exists=False)


@pytest.mark.parametrize("name", ["a b", "100%", "a#b", "Vögel"])
def test_other_paths_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    address.check(f"sqlite:///{tmp_path}/{name}/mlflow.db", exists=False)
