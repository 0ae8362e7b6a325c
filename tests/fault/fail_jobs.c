/* fail_jobs.c - what became of the jobs that were acknowledged, as the next daemon knows it. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/fail_trial.h"
#include "tests/process.h"

struct fate {
	unsigned found;
	bool ended, succeeded, command;
	unsigned attempt;
	char state[24], cause[80];
};

static void
read_fate(struct trial *t, const char *line, struct fate *fates)
{
	json_t *job = json_loads(line, 0, NULL);
	uint64_t id = (uint64_t)json_integer_value(json_object_get(job, "id"));
	const char *state = json_string_value(json_object_get(job, "state"));
	const char *cause = json_string_value(json_object_get(job, "cause"));
	const char *kind = json_string_value(json_object_get(job, "kind"));

	for (unsigned i = 0; i < t->ack_count && state != NULL; i++) {
		struct fate *f = &fates[i];
		if (t->acks[i] != id)
			continue;
		f->found++;
		f->ended = strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
		f->succeeded = strcmp(state, "succeeded") == 0;
		f->command = kind != NULL && strcmp(kind, "exec") == 0;
		f->attempt = (unsigned)json_integer_value(json_object_get(job, "attempt"));
		snprintf(f->state, sizeof(f->state), "%s", state);
		snprintf(f->cause, sizeof(f->cause), "%s", cause != NULL ? cause : "");
	}
	json_decref(job);
}

/* true: all are there and have ended.  One that ends while the list is made may stand in it twice:
 * the list is asked for again. */
static bool
read_fates(struct trial *t, struct fate *fates)
{
	memset(fates, 0, sizeof(*fates) * ACKS_MOST);
	struct command_result r = run_command(PYPREP_BIN "/pyprepctl ls -s all --json");
	for (char *save, *line = strtok_r(r.output, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		read_fate(t, line, fates);
	command_free(&r);
	for (unsigned i = 0; i < t->ack_count; i++)
		if (fates[i].found != 1 || !fates[i].ended)
			return false;
	return true;
}

/* How often a command's attempt wrote that it ran. */
static unsigned
count_runs(const char *trace, uint64_t id, unsigned *ret_twice)
{
	unsigned runs = 0, seen[16] = { 0 };

	for (const char *at = trace; *at != '\0';) {
		char *end;
		uint64_t job = strtoull(at, &end, 10);
		unsigned attempt = (unsigned)strtoul(end, &end, 10);
		if (end == at)
			break;
		if (job == id) {
			runs++;
			*ret_twice += seen[attempt % 16]++ > 0;
		}
		at = end + (*end == '\n');
	}
	return runs;
}

static void
judge_command(struct trial *t, uint64_t id, const struct fate *f, const char *trace)
{
	unsigned twice = 0, runs = count_runs(trace, id, &twice);
	struct said said;
	char expected[64];

	if (twice > 0)
		trial_wrong(t, "an attempt of job %llu ran twice", (unsigned long long)id);
	if (runs > f->attempt)
		trial_wrong(t, "job %llu ran %u times and says %u", (unsigned long long)id, runs,
			    f->attempt);
	if (!f->succeeded)
		return;
	if (runs == 0)
		trial_wrong(t, "job %llu has succeeded and never ran", (unsigned long long)id);
	trial_ctl(t, &said, "logs %llu", (unsigned long long)id);
	snprintf(expected, sizeof(expected), "output of %llu\n", (unsigned long long)id);
	if (said.status != 0 || strcmp(said.out, expected) != 0)
		trial_wrong(t, "the output of job %llu is not there: status %d: %s%s",
			    (unsigned long long)id, said.status, said.out, said.err);
}

void
trial_judge_jobs(struct trial *t)
{
	static struct fate fates[ACKS_MOST];
	static char trace[SAID_MOST];

	trial_start(t, false);
	if (!wait_until(t->place->patience_ms, trial_is_up(t)) || t->daemon == 0) {
		trial_wrong(t, "the next daemon does not start: %s", trial_last_words(t->place));
	} else {
		(void)wait_until(trial_patience(t), read_fates(t, fates));
		trial_read(t->place->trace, trace, sizeof(trace));
		for (unsigned i = 0; i < t->ack_count; i++) {
			unsigned long long id = t->acks[i];
			if (fates[i].found == 0)
				trial_wrong(t, "job %llu was acknowledged, and is lost", id);
			else if (fates[i].found > 1)
				trial_wrong(t, "job %llu is there %u times", id, fates[i].found);
			else if (!fates[i].ended)
				trial_wrong(t, "job %llu stays %s", id, fates[i].state);
			else if (!fates[i].succeeded && fates[i].cause[0] == '\0')
				trial_wrong(t, "job %llu %s without a cause", id, fates[i].state);
			else if (fates[i].command)
				judge_command(t, t->acks[i], &fates[i], trace);
		}
	}
	trial_end(t, SIGTERM);
}
