/*
 * slice.h - ask the scheduler for short turns: soon on a CPU after a wake, not long there.
 */
#ifndef PYPREP_IPC_SLICE_H
#define PYPREP_IPC_SLICE_H

/*
 * For a process that mostly passes messages on.  Without it one that wakes on a CPU where a
 * job computes may wait for the rest of the job's turn (3 ms): a receipt of 4 x sumsq then
 * shows 0.9 ms of `return`.  Needs no privilege; kernels before 6.12 ignore it, and so do we
 * when it is refused.
 */
void slice_short(void);

#endif
