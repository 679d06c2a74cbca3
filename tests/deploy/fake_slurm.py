"""As much of SLURM as the batch scripts need, with all nodes on this machine.

`srun`, `scancel` and `scontrol` are copies of this file. They behave as SLURM 22.05 was seen to:
srun kills its tasks when it is told to end, scancel signals the steps alone.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])
WITHOUT_VALUE = {"--no-kill"}


def srun(words):
    options = {}
    while words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        options[name] = value or (None if name in WITHOUT_VALUE else words.pop(0))
    first = int(options.get("--relative", 0))
    count = int(options.get("--nodes", os.environ["SLURM_JOB_NUM_NODES"]))
    tasks = []
    for task in range(count):
        own = {"SLURMD_NODENAME": f"n{first + task}", "SLURM_PROCID": str(task)}
        own |= {"SLURM_STEP_NUM_TASKS": str(count), "SLURM_LOCALID": "0"}
        tasks.append(subprocess.Popen(words, env=os.environ | own, start_new_session=True))
        (STATE / f"{tasks[-1].pid}.task").touch()

    def kill(*_):
        for task in tasks:
            task.kill()

    signal.signal(signal.SIGTERM, kill)
    return max(abs(task.wait()) for task in tasks)


def scancel(words):
    assert words[0] == "--signal=TERM"
    for file in STATE.glob("*.task"):
        try:
            os.killpg(int(file.stem), signal.SIGTERM)
        except ProcessLookupError:
            continue
    return 0


def scontrol(words):
    match words:
        case ["show", "hostnames", _]:
            print(*(f"n{i}" for i in range(int(os.environ["SLURM_JOB_NUM_NODES"]))), sep="\n")
        case ["show", "node", name]:
            print(f"NodeName={name}\n   NodeAddr=127.0.0.1 NodeHostName={name}")
        case ["show", "job", _]:
            told = (STATE / "pre-empted").exists()
            print(f"   PreemptTime={'2026-01-01T00:00:00' if told else 'None'}")
        case ["requeue", job]:
            (STATE / "requeued").write_text(job)
        case _:
            return 1
    return 0


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    sys.exit({"srun": srun, "scancel": scancel, "scontrol": scontrol}[name](sys.argv[1:]))
