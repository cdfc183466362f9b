"""When each part of the chip is evaluated next, and up to when it has been evaluated in advance."""

from ..compiled import inner

#: Parts.
FRONT, LOAD, READS, WEIGHTS, COMPUTE, STORE = range(6)

#: Later than everything.
NEVER = 1 << 60

#: Parts by the queue whose instructions they execute.
PART_OF_QUEUE = (LOAD, COMPUTE, STORE)


@inner
def wake(s, part, cycle):
    """Evaluates a part in a cycle, if not before."""
    f = s.agenda
    f.when[part] = min(f.when[part], max(cycle, f.done[part]))


@inner
def wake_queues(s, queues, cycle):
    """Evaluates the parts that execute queues, as a mask."""
    for queue, part in enumerate(PART_OF_QUEUE):
        if queues >> queue & 1:
            wake(s, part, cycle)
