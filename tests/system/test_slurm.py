"""Sweeps through a real SLURM of one node, this host: a job is cancelled, another meets its time limit."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import free_port, metrics, query, run, start, wait_until
from services import found, service

pytestmark = pytest.mark.system

SLICE = ("+experiment=mnist", "+debug=fast", "data.test_images=20", "data.validation_images=20", "n_steps=3")
LAUNCHER = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.partition=test")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cluster, for the programs that this process starts."""
    if os.getuid() != 0:
        pytest.skip("SLURM's daemons and their authentication run as root here")
    munged, slurmctld, slurmd = (
        found(*names) for names in (("munged", "munge"), ("slurmctld", "slurmctld"), ("slurmd", "slurmd"))
    )
    folder = tmp_path_factory.mktemp("slurm")
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    munge_socket = folder / "munge.socket"
    name, cores = socket.gethostname().split(".")[0], os.cpu_count() or 1
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
NodeName={name} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=test Nodes={name} Default=YES MaxTime=INFINITE State=UP
"""
    )
    for part in ("state", "spool"):
        (folder / part).mkdir()
    patch = pytest.MonkeyPatch()
    patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    patch.setenv("MASTER_ADDR", "127.0.0.1")
    patch.setenv("GLOO_SOCKET_IFNAME", "lo")
    munge = [munged, "--foreground", "--force", f"--socket={munge_socket}", f"--key-file={folder}/key"]
    munge += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"]
    with service(munge, folder / "munge.out"):
        wait_until(munge_socket.exists)
        with service([slurmctld, "-D"], folder / "ctld.out"), service([slurmd, "-D"], folder / "d.out"):
            wait_until(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout)
            yield
    patch.undo()


def statuses(folder: Path) -> dict[str, str]:
    """Of all jobs, by name."""
    if not (folder / "mlflow.db").exists():
        return {}
    return {
        str(name): str(status) for name, status in query(folder, "select name, status from runs where name not like 'sweep%'")
    }


def epochs(folder: Path, name: str) -> int:
    """How many epochs a job has finished."""
    counted = "select count(*) from metrics m join runs r on r.run_uuid = m.run_uuid where r.name = ? and m.key = 'val/loss'"
    ((number,),) = query(folder, counted, name)
    return int(str(number))


def queue() -> dict[str, str]:
    """Ids of SLURM's jobs by their state."""
    lines = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True).stdout.split("\n")
    return dict(line.split() for line in lines if line)


@pytest.mark.usefixtures("slurm")
def test_a_cancelled_job_goes_on_with_the_same_command_and_a_requeued_one_by_itself(checkout: Path) -> None:
    sweep = ("-m", *SLICE, "seed=0,1,2", "trainer.max_epochs=6", *LAUNCHER)
    process = start(checkout, *sweep)
    wait_until(lambda: "seed=1" in statuses(checkout) and epochs(checkout, "seed=1") >= 1, process)
    requeued, cancelled = sorted(job for job in queue() if job.endswith(("_0", "_1")))
    subprocess.run(["scontrol", "requeue", requeued], check=True)
    subprocess.run(["scancel", cancelled], check=True)
    _, error = process.communicate(timeout=400)
    assert process.returncode not in (0, None) and "Traceback" not in error, error
    wait_until(lambda: not queue())
    assert statuses(checkout) == {"seed=0": "FINISHED", "seed=1": "KILLED", "seed=2": "FINISHED"}
    done = epochs(checkout, "seed=1")
    code, _, error = run(checkout, *sweep)
    assert code == 0, error
    assert set(statuses(checkout).values()) == {"FINISHED"} and len(statuses(checkout)) == 3
    assert 1 <= done < epochs(checkout, "seed=1") == 6


def of_test(folder: Path, name: str) -> dict[tuple[object, object], object]:
    """What a run of this name measured on the test images."""
    ((run_id,),) = query(folder, "select run_uuid from runs where name = ?", name)
    return {key: value for key, value in metrics(folder, str(run_id)).items() if str(key[0]).startswith("test/")}


@pytest.mark.usefixtures("slurm")
def test_two_tasks_of_a_job_are_one_run_with_the_results_of_one_process(checkout: Path) -> None:
    uneven = ("data.train_images=501", "data.test_images=99", "data.validation_images=33")
    code, _, error = run(checkout, "-m", *SLICE, "seed=11,12", *uneven, "trainer.devices=2", *LAUNCHER)
    assert code == 0, error
    assert statuses(checkout)["seed=11"] == statuses(checkout)["seed=12"] == "FINISHED"
    one = ("trainer.devices=1", "data.batch_size=50")
    code, _, error = run(checkout, "run='seed=12'", *one, program="evaluate.py")
    assert code == 0, error
    of_two = of_test(checkout, "seed=12")
    assert of_two == of_test(checkout, f"evaluate {' '.join(one)}") and len(of_two) > 10


@pytest.mark.usefixtures("slurm")
def test_a_job_at_its_time_limit_is_queued_again_and_goes_on(checkout: Path) -> None:
    """A job of two tasks."""
    limit = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=20", "hydra.launcher.max_num_timeout=9")
    training = ("seed=7", "trainer.max_epochs=160", "trainer.devices=2")
    code, _, error = run(checkout, "-m", *SLICE, *training, *LAUNCHER, *limit)
    assert code == 0, error
    (name,) = [name for name in statuses(checkout) if "seed=7" in name]
    assert statuses(checkout)[name] == "FINISHED" and epochs(checkout, name) == 160
    logs = [path.read_text() for path in (checkout / "outputs").rglob("*_log.out")]
    assert any("requeued" in log.lower() for log in logs)
