/* progress.c - one line on stderr about work under way. */
#include "client/ctl/progress.h"

#include <stdio.h>

#include "client/ctl/units.h"
#include "ipc/clock.h"

#define REDRAW_NS (100 * NS_PER_MS)
#define PLAIN_NS  (10 * NS_PER_S)
#define QUIET_NS  (500 * NS_PER_MS) /* what ends within this shows no progress */

void
progress_begin(struct progress *p, const char *noun, uint64_t total, bool off)
{
	uint64_t now = clock_now();

	*p = (struct progress){ .noun = noun, .total = total, .off = off, .begun_ns = now };
	p->redraws = stderr_redraws();
	p->drawn_ns = p->redraws ? now + QUIET_NS - REDRAW_NS : now;
}

static void
draw(const struct progress *p, uint64_t now)
{
	double seconds = (double)(now - p->begun_ns) / (double)NS_PER_S;
	double rate = seconds > 0 ? (double)p->done / seconds : 0;

	fprintf(stderr, "%llu", (unsigned long long)p->done);
	if (p->total > 0)
		fprintf(stderr, " of %llu", (unsigned long long)p->total);
	fprintf(stderr, " %s done, %llu failed, %llu waiting or running, %s/s", p->noun,
		(unsigned long long)p->failed, (unsigned long long)p->open, unit_rate(rate).text);
	if (rate > 0 && p->total > p->done) {
		double left = (double)(p->total - p->done) / rate;
		if (left < 1e9)
			fprintf(stderr, ", about %s left",
				unit_time_human((uint64_t)(left * (double)NS_PER_S)).text);
	}
}

void
progress_show(struct progress *p)
{
	uint64_t now;

	if (p->off)
		return;
	now = clock_now();
	if (now < p->drawn_ns || now - p->drawn_ns < (p->redraws ? REDRAW_NS : PLAIN_NS))
		return;
	if (p->redraws)
		fputc('\r', stderr);
	draw(p, now);
	fputs(p->redraws ? "\033[K" : "\n", stderr);
	fflush(stderr);
	p->drawn = p->redraws;
	p->drawn_ns = now;
}

void
progress_clear(struct progress *p)
{
	if (!p->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->drawn = false;
}

int
progress_patience(const struct progress *p)
{
	return p->off || !p->redraws ? 1000 : 100;
}
