/*
 * ipc_lab_measure.c - one cell of the lab: a payload there and back, one in flight, then many.
 *
 * CPU time and context switches are those of the client (this process), the broker and the
 * worker, with all their threads, from /proc/PID/task: schedstat's time on a CPU is user and
 * system together, to the nanosecond.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/ipc_lab.h"
#include "client/ctl/report.h"
#include "ipc/clock.h"
#include "shm/array.h"

#define WARM         30
#define ALONE_LEAST  30
#define ALONE_MOST   20000
#define IN_FLIGHT    (256u * 1024) /* bytes of payload, but ... */
#define WINDOW_MOST  64u
#define WINDOW_LEAST 4u

/* What all who take part have used so far. */
struct used {
	uint64_t cpu_ns, switches;
};

static uint64_t
number_in(const char *path, const char *key)
{
	char line[128];
	unsigned long long value = 0;
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		sscanf(line + strlen(key), "%llu", &value);
		break;
	}
	if (file)
		fclose(file);
	return value;
}

static void
add_task(struct used *u, pid_t pid, const char *tid)
{
	char path[96];

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)pid, tid);
	u->cpu_ns += number_in(path, "");
	snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)pid, tid);
	u->switches += number_in(path, "voluntary_ctxt_switches:") +
		       number_in(path, "nonvoluntary_ctxt_switches:");
}

static void
add_process(struct used *u, pid_t pid)
{
	char path[64];
	struct dirent *entry;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (entry->d_name[0] != '.')
			add_task(u, pid, entry->d_name);
	if (tasks)
		closedir(tasks);
}

static struct used
used_so_far(const struct lab_place *place)
{
	struct used u = { 0 };

	add_process(&u, getpid());
	add_process(&u, place->broker);
	for (unsigned i = 0; i < place->worker_count; i++)
		add_process(&u, place->workers[i]);
	return u;
}

/* ---- the message ---- */

/* An echo job with its payload, or one that reads a shared array which is filled anew for each. */
struct message {
	struct pyprep_prepared *prepared;
	struct array *array;
	char *param;
	uint64_t bytes;
	unsigned round;
};

static void
message_close(struct message *m)
{
	pyprep_prepared_free(m->prepared);
	if (m->array) {
		array_unlink(m->array->name);
		array_close(m->array);
	}
	free(m->param);
}

static int
prepare(const struct lab_place *place, struct message *m, const char *kind,
	struct bench_result *trouble)
{
	const char *const params[] = { m->param, NULL };
	struct pyprep_job job = { .kind = kind, .pool = place->pool, .params = params };
	struct pyprep_problem why = { 0 };

	if (pyprep_prepare(place->p, &job, &m->prepared, &why) < 0)
		return bench_fail(trouble, "%s", why.message);
	return 0;
}

static int
message_open(const struct lab_place *place, uint64_t bytes, struct message *ret,
	     struct bench_result *trouble)
{
	*ret = (struct message){ .bytes = bytes };
	ret->param = ctl_alloc(1, LAB_CARRIED + 64);
	if (bytes <= LAB_CARRIED) {
		size_t length = (size_t)sprintf(ret->param, "bytes=");
		memset(ret->param + length, 'x', bytes);
		return prepare(place, ret, "echo", trouble);
	}
	struct array_shape shape = { .dimensions = 1, .length = { bytes } };
	char name[64];
	snprintf(name, sizeof name, "%s.payload", place->label);
	int r = array_create(name, ARRAY_u8, &shape, 0, 0, &ret->array);
	if (r < 0)
		return bench_fail(trouble, "no shared array of %" PRIu64 " bytes: %s", bytes,
				  strerror(-r));
	sprintf(ret->param, "name=%s", name);
	return prepare(place, ret, "array_sum", trouble);
}

static int
send_one(const struct lab_place *place, struct message *m, struct bench_result *trouble)
{
	if (m->array)
		memset(m->array->data, (int)(++m->round & 0xff), m->bytes);
	int r = pyprep_submit_prepared(place->p, m->prepared, NULL, NULL);
	return r < 0 ? bench_fail(trouble, "cannot submit: %s", strerror(-r)) : 0;
}

/* ---- the two halves ---- */

static int
alone(const struct lab *lab, struct bench_session *s, const struct lab_place *place,
      struct message *m, struct lab_cell *ret, struct bench_result *trouble)
{
	struct samples samples = { 0 };
	struct used before = { 0 };
	uint64_t end = 0;
	int r = 0;

	for (unsigned n = 0; r == 0 && n < WARM + ALONE_MOST; n++) {
		if (n == WARM) {
			before = used_so_far(place);
			end = clock_now() + lab->span_ns;
		}
		uint64_t begun = clock_now();
		if ((r = send_one(place, m, trouble)) < 0 || (r = session_receipt(s, trouble)) < 0)
			break;
		uint64_t now = clock_now();
		if (n >= WARM)
			samples_add(&samples, now - begun);
		if (n >= WARM + ALONE_LEAST && now > end)
			break;
	}
	struct used after = used_so_far(place);
	ret->samples = samples.count;
	ret->p50_ns = (double)samples_percentile(&samples, 50);
	ret->p99_ns = samples.count >= 100 ? (double)samples_percentile(&samples, 99) : NAN;
	if (samples.count > 0)
		ret->switches_alone =
			(double)(after.switches - before.switches) / (double)samples.count;
	samples_free(&samples);
	return r;
}

static unsigned
window_for(const struct message *m)
{
	if (m->array) /* one array: who fills it waits until it has been read */
		return 1;
	uint64_t window = IN_FLIGHT / (m->bytes + 1);
	return window > WINDOW_MOST    ? WINDOW_MOST
	       : window < WINDOW_LEAST ? WINDOW_LEAST
				       : (unsigned)window;
}

static int
many(const struct lab *lab, struct bench_session *s, const struct lab_place *place,
     struct message *m, struct lab_cell *ret, struct bench_result *trouble)
{
	unsigned under_way = 0, window = window_for(m);
	uint64_t count = 0;
	struct used before = used_so_far(place);
	uint64_t begun = clock_now(), end = begun + lab->span_ns;
	int r = 0;

	while (r == 0 && (clock_now() < end || count < WINDOW_LEAST)) {
		while (r == 0 && under_way < window && (r = send_one(place, m, trouble)) == 0)
			under_way++;
		/* in bursts, so that neither side wakes for every message */
		for (unsigned n = window / 2 + 1; r == 0 && n > 0 && under_way > 0; n--) {
			r = session_receipt(s, trouble);
			under_way--;
			count++;
		}
	}
	for (; r == 0 && under_way > 0; under_way--, count++)
		r = session_receipt(s, trouble);
	double seconds = (double)(clock_now() - begun) / (double)NS_PER_S;
	struct used after = used_so_far(place);
	if (r < 0)
		return r;
	ret->window = window;
	ret->rate = (double)count / seconds;
	ret->bytes_per_s = ret->rate * (double)m->bytes;
	ret->cpu_ns = (double)(after.cpu_ns - before.cpu_ns) / (double)count;
	ret->switches = (double)(after.switches - before.switches) / (double)count;
	return 0;
}

int
lab_measure(const struct lab *lab, const struct lab_place *place, uint64_t bytes,
	    struct lab_cell *ret, struct bench_result *trouble)
{
	struct bench_session session = { .p = place->p };
	struct lab_cell cell = { .by_name = bytes > LAB_CARRIED };
	struct message m;

	int r = message_open(place, bytes, &m, trouble);
	if (r == 0)
		r = alone(lab, &session, place, &m, &cell, trouble);
	if (r == 0)
		r = many(lab, &session, place, &m, &cell, trouble);
	message_close(&m);
	cell.p50_most_ns = cell.p50_ns;
	cell.done = r == 0;
	*ret = cell;
	return r;
}
