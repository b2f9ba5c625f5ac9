"""The states a power cut can leave of one traced run, and what recovery makes of each.

``STEMD_TEST_STATES`` is how many combinations are tried in full at one point (128); above it a sample is.
``STEMD_TEST_FIRST`` ends the judging with the first bad one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash.disk_model import Disk, Tree, materialise
from tests.crash.trace import Mark, Operation

_FIRST_IS_ENOUGH = "STEMD_TEST_FIRST" in os.environ
MOST = int(os.environ.get("STEMD_TEST_STATES", "128"))


@dataclass(frozen=True)
class State:
    """What one power cut left: ``after`` which operation, with how many starts of the engine recorded by then.

    ``retried``: a person's retry had been accepted.
    """

    tree: Tree
    after: str
    starts: int
    retried: bool


def crash_states(
    disk: Disk, operations: list[Operation], tally: Callable[..., None], *, promised: bool = False
) -> Iterator[State]:
    """Every different state after every operation since the entry had arrived, as far as it must be recovered.

    Before the entry is accepted nothing is promised (unless it was before: ``promised``), and a state in which it is
    not all there is passed over.
    """
    chance = random.Random(1)
    arrived: Tree | None = None
    accepted, starts, retried, known = promised, 0, False, set()
    for operation in operations:
        changed = disk.apply(operation)
        match operation:
            case Mark("arrived"):
                arrived, changed = disk.now(), True
            case Mark("A2"):
                accepted = True
            case Mark("W1"):
                starts += 1
            case Mark("Y3"):
                retried = changed = True
        if not changed or arrived is None:
            continue
        tally("states", points=1)
        for tree in disk.states(MOST, chance):
            if (tree, starts, retried) not in known and (accepted or tree == arrived):
                known.add((tree, starts, retried))
                yield State(tree, str(operation)[:200], starts, retried)


def judge(states: list[State], root: Path, check: Callable[[State], list[str]]) -> list[str]:
    """For each state what ``check`` finds wrong once it is real below ``root``, in words; empty when nothing is.

    The checks run in forked children, many in one; one that dies is an answer too, and the next takes over.
    """
    answers: list[str] = []
    while len(answers) < len(states) and not (_FIRST_IS_ENOUGH and any(answers)):
        status = _judge_some(states[len(answers) :], root, check, answers)
        if status != 0:
            answers.append(f"recovery ended with {status}")
    return answers + [""] * (len(states) - len(answers))


def _judge_some(states: list[State], root: Path, check: Callable[[State], list[str]], answers: list[str]) -> int:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            for state in states:
                wrong = _judge_one(state, root, check)
                print(json.dumps(wrong), file=out, flush=True)
                if wrong and _FIRST_IS_ENOUGH:
                    break
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        answers += map(json.loads, lines)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _judge_one(state: State, root: Path, check: Callable[[State], list[str]]) -> str:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    materialise(state.tree, root)
    try:
        return "; ".join(check(state))
    except BaseException:
        return traceback.format_exc()


def explain(state: State, wrong: str) -> str:
    """A bad state, for people."""
    lines = [f"{path} ({inode}, {'folder' if data is None else len(data)})" for path, inode, data in state.tree]
    return "\n".join([f"after {state.after}:", *lines, wrong])
