/* sleepers.c - see sleepers.h */
#include "shm/sleepers.h"

struct patience
patience_begin(int timeout_ms)
{
	struct patience p = { .none = timeout_ms == 0 };

	if (timeout_ms > 0)
		p.deadline_ns = futex_now_ns() + (uint64_t)timeout_ms * 1000000u;
	return p;
}

int
sleepers_wait(struct sleepers *s, uint32_t turn, struct patience *patience)
{
	uint64_t ns = FUTEX_SLICE_NS;

	if (patience->none)
		return -ETIMEDOUT;
	if (patience->deadline_ns != 0) {
		uint64_t now = futex_now_ns();
		if (now >= patience->deadline_ns)
			return -ETIMEDOUT;
		if (patience->deadline_ns - now < ns)
			ns = patience->deadline_ns - now;
	}
	return futex_wait(&s->turn, turn, ns) == -ETIMEDOUT ? 1 : 0;
}
