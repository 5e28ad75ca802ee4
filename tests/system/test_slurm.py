"""Sweeps through a real SLURM of one node, this host: a job is cancelled, another meets its time limit."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import PATIENCE, free_port, metrics, query, run, start, wait_until
from services import found, service

pytestmark = pytest.mark.system

SLICE = ("+experiment=mnist", "+debug=fast", "data.test_images=20", "data.validation_images=20", "n_steps=3")
LAUNCHER = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.partition=test")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster, for the programs that this process starts."""
    if os.getuid() != 0:
        pytest.skip("SLURM's daemons and their authentication run as root here")
    munged = found("munged", "munge")
    slurmctld = found("slurmctld", "slurmctld")
    slurmd = found("slurmd", "slurmd")
    folder = tmp_path_factory.mktemp("slurm")
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)
    munge_socket = folder / "munge.socket"
    write_configuration(folder, munge_socket)
    with (
        pytest.MonkeyPatch.context() as patch,
        service(munge_command(munged, folder, munge_socket), folder / "munge.out") as munge,
    ):
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("MASTER_ADDR", "127.0.0.1")
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        wait_until(munge_socket.exists, munge)
        with service([slurmctld, "-D"], folder / "ctld.out"), service([slurmd, "-D"], folder / "d.out"):
            wait_until(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout)
            yield


def munge_command(munged: str, folder: Path, munge_socket: Path) -> list[str]:
    """The daemon by which SLURM's daemons know each other, with a key that it writes."""
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    files = {"key-file": "key", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munged.seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    return [munged, "--foreground", "--force", f"--socket={munge_socket}", *options]


def write_configuration(folder: Path, munge_socket: Path) -> None:
    """`slurm.conf` of a cluster of one node, this host."""
    name = socket.gethostname().split(".")[0]
    for part in ("state", "spool"):
        (folder / part).mkdir()
    (folder / "slurm.conf").write_text(
        f"""ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket},cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=5
OverTimeLimit=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=2,batch_sched_delay=1,requeue_delay=1
NodeName={name} NodeAddr=127.0.0.1 CPUs={os.cpu_count() or 1} State=UNKNOWN
PartitionName=test Nodes={name} Default=YES MaxTime=INFINITE State=UP
"""
    )


def statuses(folder: Path) -> dict[str, str]:
    """The status of each job's run, by name."""
    if not (folder / "mlflow.db").exists():
        return {}
    rows = query(folder, "select name, status from runs where name not like 'sweep%'")
    return {str(name): str(status) for name, status in rows}


def epochs(folder: Path, name: str) -> int:
    """How many epochs a job has finished."""
    counted = "select count(*) from metrics m join runs r on r.run_uuid = m.run_uuid where r.name = ? and m.key = 'val/loss'"
    ((number,),) = query(folder, counted, name)
    return int(str(number))


def queue() -> list[str]:
    """Ids of SLURM's jobs, as `12_0` for the first one of a sweep."""
    command = ["squeue", "-h", "-r", "-o", "%i"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def two_that_train(folder: Path) -> list[int] | None:
    """The seeds of two jobs that have finished an epoch and are still at work."""
    of_runs = statuses(folder)
    seeds = []
    for seed in range(3):
        name = f"seed={seed}"
        if of_runs.get(name) == "RUNNING" and epochs(folder, name) >= 1:
            seeds.append(seed)
    return seeds[:2] if len(seeds) >= 2 else None


@pytest.mark.usefixtures("slurm")
def test_a_cancelled_job_goes_on_with_the_same_command_and_a_requeued_one_by_itself(checkout: Path) -> None:
    sweep = ("-m", *SLICE, "seed=0,1,2", "trainer.max_epochs=12", *LAUNCHER)
    process = start(checkout, *sweep)
    requeued, cancelled = wait_until(lambda: two_that_train(checkout), process)
    ids = {int(job.rpartition("_")[2]): job for job in queue()}
    subprocess.run(["scontrol", "requeue", ids[requeued]], check=True)
    subprocess.run(["scancel", ids[cancelled]], check=True)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None), "the sweep takes a cancelled job for a finished one"
    assert "Traceback" not in error, error
    wait_until(lambda: not queue())
    expected = dict.fromkeys(("seed=0", "seed=1", "seed=2"), "FINISHED")
    assert statuses(checkout) == {**expected, f"seed={cancelled}": "KILLED"}
    done = epochs(checkout, f"seed={cancelled}")
    code, _, error = run(checkout, *sweep)
    assert code == 0, error
    assert statuses(checkout) == expected
    assert epochs(checkout, f"seed={cancelled}") == 12
    assert 1 <= done < 12, "it was not cancelled during its training"


def of_test(folder: Path, name: str) -> dict[tuple[object, object], object]:
    """The metrics of the run of this name on the test images."""
    ((run_id,),) = query(folder, "select run_uuid from runs where name = ?", name)
    return {key: value for key, value in metrics(folder, str(run_id)).items() if str(key[0]).startswith("test/")}


@pytest.mark.usefixtures("slurm")
def test_two_tasks_of_a_job_are_one_run_with_the_results_of_one_process(checkout: Path) -> None:
    uneven = ("data.train_images=501", "data.test_images=99", "data.validation_images=33")
    code, _, error = run(checkout, "-m", *SLICE, "seed=11,12", *uneven, "trainer.devices=2", *LAUNCHER)
    assert code == 0, error
    of_runs = statuses(checkout)
    assert [of_runs["seed=11"], of_runs["seed=12"]] == ["FINISHED", "FINISHED"]
    one = ("trainer.devices=1", "data.batch_size=50")
    code, _, error = run(checkout, "run='seed=12'", *one, program="evaluate.py")
    assert code == 0, error
    of_two = of_test(checkout, "seed=12")
    assert len(of_two) > 10
    assert of_two == of_test(checkout, f"evaluate {' '.join(one)}")


@pytest.mark.usefixtures("slurm")
def test_a_job_at_its_time_limit_is_queued_again_and_goes_on(checkout: Path) -> None:
    """A job of two tasks."""
    limit = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=20", "hydra.launcher.max_num_timeout=9")
    training = ("seed=7", "trainer.max_epochs=160", "trainer.devices=2")
    code, _, error = run(checkout, "-m", *SLICE, *training, *LAUNCHER, *limit)
    assert code == 0, error
    (name,) = [name for name in statuses(checkout) if "seed=7" in name]
    assert statuses(checkout)[name] == "FINISHED"
    assert epochs(checkout, name) == 160
    logs = [path.read_text() for path in (checkout / "outputs").rglob("*_log.out")]
    assert any("requeued" in log.lower() for log in logs)
