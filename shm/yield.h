/*
 * yield.h - give the CPU away between two looks, as long as that is cheap.
 *
 * Alone on its core, a process that yields is back within a microsecond.  Where others want the
 * core, each yield costs it their whole time slices: kernels since 6.6 let who yields fall back
 * behind all that could run instead, the more the more often it yields.  Fifty looks took 300 ms
 * beside one busy loop, and up to 30 s on a machine with much other work.  Who sleeps instead comes
 * back as soon as it is woken.
 */
#ifndef PYPREP_SHM_YIELD_H
#define PYPREP_SHM_YIELD_H

#include <stdbool.h>

/* true: look again.  false: others want the core, looking on would be dear: sleep; also for a
 * while after such an answer, without a yield. */
bool yield_cheaply(void);

#endif
