"""What the kernel says of cores, memory and pressure, in the forms it says it in."""

import os

import pytest

from stemd.daemon.host import Machine

MIB = 1 << 20
CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def machine(tmp_path):
    """A machine of 8 GiB, 6 GiB of them free, without control groups."""
    for folder in ("proc/self", "proc/pressure", "groups"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  8388608 kB\nMemFree:  1 kB\nMemAvailable:  6291456 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/stemd.service/supervisor\n")
    return Machine(tmp_path / "proc", tmp_path / "groups")


def group(machine, path, **files):
    folder = machine.groups / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_machine_without_groups(machine):
    memory = machine.memory()
    assert (memory.total, memory.available) == (8192 * MIB, 6144 * MIB)
    assert machine.cores() == CORES
    assert (machine.pressure().cpu, machine.pressure().memory) == (0, 0)


def test_the_narrowest_group_above_counts(machine):
    group(machine, "system.slice/stemd.service/supervisor", memory__max="max\n", memory__current="1\n")
    group(machine, "system.slice/stemd.service", memory__max=f"{2048 * MIB}", memory__current=f"{1024 * MIB}",
          memory__stat=f"anon 5\ninactive_file {512 * MIB}\n", cpu__max="100000 100000\n")  # fmt: skip
    group(machine, "system.slice", memory__max=f"{4096 * MIB}", memory__current=f"{1 * MIB}", cpu__max="max 100000\n")
    memory = machine.memory()
    assert memory.total == 2048 * MIB
    assert memory.available == (2048 - 1024 + 512) * MIB, "what the kernel can take back is there to be had"
    assert machine.cores() == 1


def test_groups_of_version_1(machine):
    (machine.proc / "self/cgroup").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
    group(machine, "memory/box", memory__limit_in_bytes=f"{1024 * MIB}", memory__usage_in_bytes=f"{1000 * MIB}",
          memory__stat=f"inactive_file 1\ntotal_inactive_file {100 * MIB}\n")  # fmt: skip
    group(machine, "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="1")
    group(machine, "cpu,cpuacct/box", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    assert (machine.memory().total, machine.memory().available) == (1024 * MIB, 124 * MIB)
    assert machine.cores() == 1, "half a core is one"


def test_the_higher_pressure_of_machine_and_group(machine):
    line = "some avg10={} avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n"
    (machine.proc / "pressure/cpu").write_text(line.format("12.50"))
    (machine.proc / "pressure/memory").write_text(line.format("1.00"))
    group(machine, "system.slice/stemd.service", memory__pressure=line.format("30.00"))
    assert (machine.pressure().cpu, machine.pressure().memory) == (0.125, 0.3)
