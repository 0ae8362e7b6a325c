/* autopsy.c - see autopsy.h */
#include "daemon/autopsy.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

void
autopsy_add(struct autopsy *a, uint64_t id)
{
	if (a->count < AUTOPSY_JOBS)
		a->jobs[a->count] = id;
	a->count++;
}

/* ---- in words ---- */

static void __attribute__((format(printf, 4, 5)))
say(char *buffer, size_t size, size_t *used, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	int n = vsnprintf(buffer + *used, size - *used, format, list);
	va_end(list);
	if (n > 0)
		*used = *used + (size_t)n < size ? *used + (size_t)n : size - 1;
}

/* Who else was on it. */
static void
say_beside(const struct autopsy *a, uint64_t id, char *buffer, size_t size, size_t *used)
{
	uint32_t named = 0, others = a->count > 0 ? a->count - 1 : 0;

	for (uint32_t i = 0; i < a->count && i < AUTOPSY_JOBS; i++) {
		if (a->jobs[i] == id)
			continue;
		say(buffer, size, used, "%s%llu",
		    named > 0     ? ", "
		    : others == 1 ? "; with it died job "
				  : "; with it died jobs ",
		    (unsigned long long)a->jobs[i]);
		named++;
	}
	if (named > 0 && named < others)
		say(buffer, size, used, " and %u more", others - named);
}

void
autopsy_text(const struct autopsy *a, uint64_t id, char *buffer, size_t size)
{
	const struct worker_down_body *d = &a->down;
	size_t used = 0;

	say(buffer, size, &used, "worker %u (pid %u) ", d->slot, d->pid);
	if (WIFSIGNALED(d->status))
		say(buffer, size, &used, "was killed by signal %d (%s)%s", WTERMSIG(d->status),
		    strsignal(WTERMSIG(d->status)),
		    d->oom ? ": its cgroup had no memory left" : "");
	else
		say(buffer, size, &used, "exited with status %d", WEXITSTATUS(d->status));
	if (d->lived_ns > 0)
		say(buffer, size, &used,
		    "; it had lived %.3g s, begun %llu job%s, taken %.3g s of CPU and at most %.1f "
		    "MiB",
		    (double)d->lived_ns / 1e9, (unsigned long long)d->jobs, d->jobs == 1 ? "" : "s",
		    (double)(d->user_ns + d->system_ns) / 1e9, (double)d->memory_peak / (1 << 20));
	say_beside(a, id, buffer, size, &used);
}

/* ---- as a map ---- */

static void
key(msgpack_packer *pack, const char *name)
{
	msgpack_pack_str_with_body(pack, name, strlen(name));
}

static void
number(msgpack_packer *pack, const char *name, uint64_t value)
{
	key(pack, name);
	msgpack_pack_uint64(pack, value);
}

void
autopsy_pack(const struct autopsy *a, uint64_t id, msgpack_sbuffer *ret)
{
	const struct worker_down_body *d = &a->down;
	uint32_t named = a->count < AUTOPSY_JOBS ? a->count : AUTOPSY_JOBS, beside = 0;
	msgpack_packer pack;

	for (uint32_t i = 0; i < named; i++)
		beside += a->jobs[i] != id;
	msgpack_packer_init(&pack, ret, msgpack_sbuffer_write);
	msgpack_pack_map(&pack, 11);
	number(&pack, "slot", d->slot);
	number(&pack, "pid", d->pid);
	number(&pack, "signal", WIFSIGNALED(d->status) ? (uint64_t)WTERMSIG(d->status) : 0);
	number(&pack, "status", WIFEXITED(d->status) ? (uint64_t)WEXITSTATUS(d->status) : 0);
	key(&pack, "oom");
	d->oom ? msgpack_pack_true(&pack) : msgpack_pack_false(&pack);
	number(&pack, "memory_peak", d->memory_peak);
	number(&pack, "user_ns", d->user_ns);
	number(&pack, "system_ns", d->system_ns);
	number(&pack, "lived_ns", d->lived_ns);
	number(&pack, "jobs", d->jobs);
	key(&pack, "beside");
	msgpack_pack_array(&pack, beside);
	for (uint32_t i = 0; i < named; i++)
		if (a->jobs[i] != id)
			msgpack_pack_uint64(&pack, a->jobs[i]);
}
