/* yield.c - see yield.h */
#include "shm/yield.h"

#include <sched.h>
#include <stdint.h>

#include "shm/futex.h"

#define DEAR_NS  UINT64_C(200000)   /* somebody had the core for longer than a look is worth */
#define AGAIN_NS UINT64_C(20000000) /* after a dear one */

bool
yield_cheaply(void)
{
	static _Thread_local uint64_t not_before_ns;
	uint64_t before_ns = futex_now_ns();

	if (before_ns < not_before_ns)
		return false;
	sched_yield();
	uint64_t now_ns = futex_now_ns();
	if (now_ns - before_ns < DEAR_NS)
		return true;
	not_before_ns = now_ns + AGAIN_NS;
	return false;
}
