/* jobs.c - see jobs.h */
#include "tests/daemon/jobs.h"

#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/receipt.h"

char ask_answer[65536];

uint64_t
start_job(struct pyprep *p, const struct pyprep_job *job)
{
	struct pyprep_problem why = { 0 };
	uint64_t tag;

	if (pyprep_submit(p, job, NULL, &tag, &why) < 0) {
		fprintf(stderr, "cannot submit %s: %s\n", job->kind, why.message);
		abort();
	}
	return tag;
}

uint64_t
start(struct pyprep *p, const char *kind, const char *pool, const char *params, unsigned timeout_ms)
{
	char words[512];
	const char *list[16] = { 0 };
	int n = 0;

	snprintf(words, sizeof(words), "%s", params != NULL ? params : "");
	for (char *save, *w = strtok_r(words, " ", &save); w != NULL && n < 15;
	     w = strtok_r(NULL, " ", &save))
		list[n++] = w;
	struct pyprep_job job = {
		.kind = kind, .pool = pool, .params = list, .timeout_ns = timeout_ms * MS
	};
	return start_job(p, &job);
}

uint64_t
start_shell(struct pyprep *p, const char *script, unsigned timeout_ms)
{
	const char *argv[] = { "sh", "-c", script, NULL };
	struct pyprep_job job = { .kind = "exec", .argv = argv, .timeout_ns = timeout_ms * MS };

	return start_job(p, &job);
}

int
next_receipt(struct pyprep *p, unsigned ms, struct pyprep_receipt *ret)
{
	uint64_t deadline = test_now_ms() + ms;

	for (;;) {
		uint64_t now = test_now_ms();
		struct pyprep_event event;
		int r = pyprep_next(p, now < deadline ? (int)(deadline - now) : 0, &event);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			return r;
		if (event.type == PYPREP_RECEIPT) {
			*ret = event.receipt;
			return 1;
		}
	}
}

void
receipt_for(struct pyprep *p, uint64_t tag, unsigned ms, struct pyprep_receipt *ret)
{
	uint64_t deadline = test_now_ms() + ms;

	for (;;) {
		uint64_t now = test_now_ms();
		int r = next_receipt(p, now < deadline ? (unsigned)(deadline - now) : 0, ret);
		if (r <= 0) {
			fprintf(stderr, "no receipt of job %#jx within %u ms (%d)\n",
				(uintmax_t)tag, ms, r);
			abort();
		}
		if (ret->tag == tag)
			return;
	}
}

void
tally_add(struct tally *t, const struct pyprep_receipt *receipt)
{
	t->receipts++;
	t->succeeded += strcmp(receipt->state, "succeeded") == 0;
	t->failed += strcmp(receipt->state, "failed") == 0;
	t->cancelled += strcmp(receipt->state, "cancelled") == 0;
	t->timed_out += strcmp(receipt->state, "timed_out") == 0;
	t->refused += strcmp(receipt->state, "refused") == 0;
	t->worker_died += strcmp(receipt->cause, "worker_died") == 0;
	t->broker_lost += strcmp(receipt->cause, "broker_lost") == 0;
	t->bystanders += receipt->bystander != 0;
}

bool
finish_all(struct pyprep *p, unsigned ms, struct tally *t)
{
	uint64_t deadline = test_now_ms() + ms;
	struct pyprep_receipt receipt;

	while (pyprep_outstanding(p) > 0) {
		uint64_t now = test_now_ms();
		if (now >= deadline || next_receipt(p, (unsigned)(deadline - now), &receipt) <= 0)
			return false;
		tally_add(t, &receipt);
	}
	return true;
}

/* ---- requests ---- */

static void
pack_text(msgpack_packer *pk, const char *text)
{
	msgpack_pack_str_with_body(pk, text, strlen(text));
}

static void
pack_value(msgpack_packer *pk, char *value)
{
	if (strcmp(value, "true") == 0) {
		msgpack_pack_true(pk);
	} else if (strcmp(value, "false") == 0) {
		msgpack_pack_false(pk);
	} else if (strchr(value, ',') != NULL) {
		size_t count = 0;
		for (const char *at = value; *at != '\0'; at++)
			count += at[0] == ',' && at[1] != '\0';
		msgpack_pack_array(pk, count + 1);
		for (char *save, *one = strtok_r(value, ",", &save); one != NULL;
		     one = strtok_r(NULL, ",", &save))
			msgpack_pack_uint64(pk, strtoull(one, NULL, 10));
	} else if (value[0] != '\0' && strspn(value, "0123456789") == strlen(value)) {
		msgpack_pack_uint64(pk, strtoull(value, NULL, 10));
	} else {
		pack_text(pk, value);
	}
}

static int
keep_answer(void *context, const void *map, size_t length)
{
	msgpack_unpacked unpacked;
	size_t offset = 0, used = strlen(ask_answer);

	(void)context;
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS)
		msgpack_object_print_buffer(ask_answer + used, sizeof(ask_answer) - used,
					    unpacked.data);
	msgpack_unpacked_destroy(&unpacked);
	return 0;
}

int
ask(struct pyprep *p, const char *verb, const char *words, struct pyprep_problem *why)
{
	char copy[512];
	char *list[16];
	size_t n = 0;
	msgpack_sbuffer map;
	msgpack_packer pk;

	snprintf(copy, sizeof(copy), "%s", words != NULL ? words : "");
	for (char *save, *w = strtok_r(copy, " ", &save); w != NULL && n < 16;
	     w = strtok_r(NULL, " ", &save))
		list[n++] = w;
	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, n + 1);
	pack_text(&pk, "verb");
	pack_text(&pk, verb);
	for (size_t i = 0; i < n; i++) {
		char *value = strchr(list[i], '=');
		*value++ = '\0';
		pack_text(&pk, list[i]);
		pack_value(&pk, value);
	}
	ask_answer[0] = '\0';
	int r = pyprep_request(p, map.data, map.size, 10000, keep_answer, NULL, why);
	msgpack_sbuffer_destroy(&map);
	return r;
}

/* Take the receipt out of a job map and look at its state. */
struct job_look {
	struct pyprep_receipt receipt;
	char state[16];
	uint64_t newest;
	unsigned started;
};

static const msgpack_object *
field(const msgpack_object *map, const char *key)
{
	for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];
		if (kv->key.via.str.size == strlen(key) &&
		    memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0)
			return &kv->val;
	}
	return NULL;
}

static void
look_at_job(const msgpack_object *job, struct job_look *look)
{
	const msgpack_object *o = field(job, "receipt");

	if (o == NULL || o->type != MSGPACK_OBJECT_BIN ||
	    pyprep_receipt_decode(o->via.bin.ptr, o->via.bin.size, &look->receipt) < 0)
		return;
	struct receipt receipt;
	memcpy(&receipt, o->via.bin.ptr, sizeof(receipt));
	look->started += receipt.outcome.started_ns != 0 && receipt.outcome.ended_ns == 0;
	snprintf(look->state, sizeof(look->state), "%s", look->receipt.state);
	if (look->receipt.id > look->newest)
		look->newest = look->receipt.id;
}

static int
take_jobs(void *context, const void *map, size_t length)
{
	msgpack_unpacked unpacked;
	size_t offset = 0;

	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, map, length, &offset) == MSGPACK_UNPACK_SUCCESS) {
		const msgpack_object *jobs = field(&unpacked.data, "jobs");
		for (uint32_t i = 0; jobs != NULL && i < jobs->via.array.size; i++)
			look_at_job(&jobs->via.array.ptr[i], context);
		if (jobs == NULL)
			look_at_job(&unpacked.data, context);
	}
	msgpack_unpacked_destroy(&unpacked);
	return 0;
}

static struct job_look
look_at_id(struct pyprep *p, uint64_t id)
{
	struct job_look look = { 0 };
	msgpack_sbuffer map;
	msgpack_packer pk;

	msgpack_sbuffer_init(&map);
	msgpack_packer_init(&pk, &map, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 2);
	pack_text(&pk, "verb");
	pack_text(&pk, "show");
	pack_text(&pk, "id");
	msgpack_pack_uint64(&pk, id);
	int r = pyprep_request(p, map.data, map.size, 10000, take_jobs, &look, NULL);
	msgpack_sbuffer_destroy(&map);
	return r == 0 ? look : (struct job_look){ 0 };
}

bool
job_is(struct pyprep *p, uint64_t id, const char *state)
{
	return strcmp(look_at_id(p, id).state, state) == 0;
}

unsigned
job_attempt(struct pyprep *p, uint64_t id)
{
	return look_at_id(p, id).receipt.attempt;
}

static struct job_look
look_at_live_jobs(struct pyprep *p)
{
	static const char verb_ls[] = "\x81\xa4verb\xa2ls"; /* {"verb": "ls"} */
	struct job_look look = { 0 };

	pyprep_request(p, verb_ls, sizeof(verb_ls) - 1, 10000, take_jobs, &look, NULL);
	return look;
}

uint64_t
newest_job(struct pyprep *p)
{
	return look_at_live_jobs(p).newest;
}

unsigned
jobs_started(struct pyprep *p)
{
	return look_at_live_jobs(p).started;
}

uint64_t
cpu_ms(pid_t pid)
{
	char path[64];
	unsigned long user = 0, system = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	char text[512] = "";
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	const char *end = n > 0 ? strrchr(text, ')') : NULL;
	if (end == NULL || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				  &user, &system) != 2)
		return 0;
	return (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

int
settled_fds(pid_t pid)
{
	int now = count_fds(pid), last = -1;

	for (int equal = 0; equal < 10;
	     equal = now == last && process_state(pid) == 'S' ? equal + 1 : 0) {
		last = now;
		test_pause();
		now = count_fds(pid);
	}
	return now;
}

int
supervisor_fds(const struct test_daemon *d)
{
	if (!wait_until(20000, child_with_title(d->pid, "pyprepd: spare") > 0)) {
		fprintf(stderr, "the supervisor makes no spare worker\n");
		abort();
	}
	return settled_fds(d->pid);
}
