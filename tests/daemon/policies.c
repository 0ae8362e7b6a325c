/* policies.c - see policies.h */
#include "tests/daemon/policies.h"

#include <msgpack.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 16

/* "a=1 b=2" as a list that ends with NULL. */
static void
split(const char *params, char *words, size_t size, const char **list)
{
	int n = 0;

	snprintf(words, size, "%s", params != NULL ? params : "");
	for (char *save, *w = strtok_r(words, " ", &save); w != NULL && n < LIST_MAX - 1;
	     w = strtok_r(NULL, " ", &save))
		list[n++] = w;
}

uint64_t
start_with(struct pyprep *p, const char *kind, const char *pool, const char *params,
	   const struct pyprep_policy *policy)
{
	char words[512];
	const char *list[LIST_MAX] = { 0 };

	split(params, words, sizeof(words), list);
	struct pyprep_job job = { .kind = kind, .pool = pool, .params = list, .policy = policy };
	return start_job(p, &job);
}

uint64_t
detach(struct pyprep *p, const char *kind, const char *params, const struct pyprep_policy *policy,
       struct pyprep_receipt *ret)
{
	char words[512];
	const char *list[LIST_MAX] = { 0 };
	struct pyprep_event event;
	uint64_t deadline = test_now_ms() + 60000;

	split(params, words, sizeof(words), list);
	struct pyprep_job job = {
		.kind = kind, .params = list, .policy = policy, .flags = PYPREP_DETACH
	};
	uint64_t tag = start_job(p, &job);
	while (test_now_ms() < deadline) {
		if (pyprep_next(p, 1000, &event) != 1 || event.tag != tag)
			continue;
		if (event.type == PYPREP_ACCEPTED)
			return event.id;
		if (ret != NULL)
			*ret = event.receipt;
		return 0;
	}
	fprintf(stderr, "%s was neither accepted nor refused\n", kind);
	abort();
}

static uint64_t
accepted(struct pyprep *p, const char *kind, const struct pyprep_policy *policy)
{
	struct pyprep_receipt receipt = { 0 };
	uint64_t id = detach(p, kind, NULL, policy, &receipt);

	if (id == 0) {
		fprintf(stderr, "%s was refused: %s\n", kind, receipt.error_message);
		abort();
	}
	return id;
}

uint64_t
detach_after(struct pyprep *p, const char *kind, uint64_t parent, bool any)
{
	struct pyprep_after after = { .id = parent, .any = any };
	struct pyprep_policy policy = { .after = &after, .after_count = 1 };

	return accepted(p, kind, &policy);
}

uint64_t
detach_held(struct pyprep *p, const char *kind)
{
	struct pyprep_policy policy = { .hold = 1 };

	return accepted(p, kind, &policy);
}

/* ---- ends ---- */

static unsigned char bytes[65536];

static int
take_receipt(void *context, const void *map, size_t length)
{
	struct pyprep_receipt *ret = context;
	msgpack_unpacked unpacked;
	size_t offset = 0;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS)
		for (uint32_t i = 0; i < unpacked.data.via.map.size; i++) {
			const msgpack_object *o = &unpacked.data.via.map.ptr[i].val;
			if (o->type != MSGPACK_OBJECT_BIN || o->via.bin.size > sizeof(bytes))
				continue;
			memcpy(bytes, o->via.bin.ptr, o->via.bin.size);
			pyprep_receipt_decode(bytes, o->via.bin.size, ret);
		}
	msgpack_unpacked_destroy(&unpacked);
	return 0;
}

void
end_of(struct pyprep *p, uint64_t id, unsigned ms, struct pyprep_receipt *ret)
{
	struct pyprep_problem why = { 0 };
	msgpack_sbuffer map;
	msgpack_packer pk;

	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	msgpack_pack_str_with_body(&pk, "verb", 4);
	msgpack_pack_str_with_body(&pk, "wait", 4);
	msgpack_pack_str_with_body(&pk, "ids", 3);
	msgpack_pack_array(&pk, 1);
	msgpack_pack_uint64(&pk, id);
	*ret = (struct pyprep_receipt){ 0 };
	int r = pyprep_request(p, map.data, map.size, (int)ms, take_receipt, ret, &why);
	msgpack_sbuffer_destroy(&map);
	if (r < 0 || ret->id != id) {
		fprintf(stderr, "the end of job %ju is not known: %d, %s\n", (uintmax_t)id, r,
			why.message);
		abort();
	}
}

bool
ended_as(struct pyprep *p, uint64_t id, const char *state)
{
	struct pyprep_receipt receipt;

	end_of(p, id, 60000, &receipt);
	return strcmp(receipt.state, state) == 0;
}

static void
ask_for(struct pyprep *p, const char *verb, uint64_t id)
{
	struct pyprep_problem why = { 0 };
	char words[64];

	snprintf(words, sizeof(words), "ids=%ju,", (uintmax_t)id);
	if (ask(p, verb, words, &why) < 0) {
		fprintf(stderr, "cannot %s job %ju: %s\n", verb, (uintmax_t)id, why.message);
		abort();
	}
}

void
hold(struct pyprep *p, uint64_t id)
{
	ask_for(p, "hold", id);
}

void
release(struct pyprep *p, uint64_t id)
{
	ask_for(p, "release", id);
}

uint64_t
started_ns(const struct pyprep_receipt *r)
{
	return r->slot < 0 ? 0
			   : r->submitted_ns + r->submit_ns + r->store_ns + r->queue_ns +
				     r->dispatch_ns;
}

struct pyprep *
replace_broker(struct test_daemon *d, struct pyprep *p)
{
	pid_t broker = daemon_broker(d);

	pyprep_close(p);
	if (broker <= 0 || kill(broker, SIGKILL) < 0 ||
	    !wait_until(60000, daemon_broker(d) > 0 && daemon_broker(d) != broker)) {
		fprintf(stderr, "the broker %d has no successor\n", (int)broker);
		abort();
	}
	return daemon_connect(d);
}

struct pyprep *
replace_daemon(struct test_daemon *d, struct pyprep *p)
{
	pyprep_close(p);
	kill(d->pid, SIGKILL);
	if (wait_exit(d->pid, 60000) < 0) {
		fprintf(stderr, "the daemon %d does not die\n", (int)d->pid);
		abort();
	}
	d->pid = 0;
	daemon_launch(d);
	if (!daemon_wait_ready(d, 60000)) {
		fprintf(stderr, "the next daemon does not start\n");
		abort();
	}
	return daemon_connect(d);
}
