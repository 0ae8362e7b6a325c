/* fail_point.c - see fail_point.h; what it judges of jobs is in fail_jobs.c */
#include "tests/fault/fail_trial.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/files.h"
#include "tests/process.h"

/* Beyond it somebody hangs.  SQLite waits 10 s for a lock, three times before it is told. */
#define PATIENCE_MS 90000
#define SLOW_MS 4000

static const char config[] = "[daemon]\nlog_format = text\nstore = %s\n"
			     "[pool \"cpu\"]\nexecutor = process\nworkers = 2\n"
			     "[pool \"io\"]\nexecutor = event\nworkers = 1\n"
			     "[pool \"threads\"]\nexecutor = thread\nworkers = 1\n"
			     "[pool \"shell\"]\nexecutor = command\nworkers = 1\ngrace = 50ms\n";

/* What a detached command does: it says that it ran, in a file and to the daemon. */
static const char trace_script[] = "echo $PYPREP_JOB $PYPREP_ATTEMPT >>trace\n"
				   "echo output of $PYPREP_JOB\n";

void
trial_wrong(struct trial *t, const char *format, ...)
{
	va_list list;

	if (t->outcome->problem[0] != '\0')
		return; /* the first one says most */
	va_start(list, format);
	vsnprintf(t->outcome->problem, sizeof(t->outcome->problem), format, list);
	va_end(list);
}

/* When something is wrong already, nobody waits long for more. */
unsigned
trial_patience(const struct trial *t)
{
	return t->outcome->problem[0] != '\0' ? 2000 : t->place->patience_ms;
}

/* ---- the place ---- */

void
fail_place_open(struct fail_place *p)
{
	char control[160], conf[160];

	*p = (struct fail_place){ .patience_ms = PATIENCE_MS };
	test_dir_make(p->dir, sizeof(p->dir));
	/* In memory, where a sync costs nothing, and with a /dev/shm that only we use. */
	if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) {
		(void)mount("tmpfs", p->dir, "tmpfs", 0, "size=64m");
		p->own_shm = mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64m") == 0;
	}
	snprintf(p->log, sizeof(p->log), "%s/log", p->dir);
	snprintf(p->trace, sizeof(p->trace), "%s/trace", p->dir);
	snprintf(control, sizeof(control), "%s/control", p->dir);
	int fd = open(control, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*p->control)) < 0)
		abort();
	p->control = mmap(NULL, sizeof(*p->control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->control == MAP_FAILED)
		abort();
	close(fd);
	snprintf(conf, sizeof(conf), "%s/pyprepd.conf", p->dir);
	test_write_file(p->dir, "trace.sh", trace_script, NULL, 0);
	if (chdir(p->dir) < 0)
		abort();
	setenv("PYPREP_CONFIG", conf, 1);
	setenv(FAIL_CALLS_ENV, control, 1);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void
fail_place_close(struct fail_place *p)
{
	(void)!chdir("/");
	munmap(p->control, sizeof(*p->control));
	if (p->own_shm)
		umount2(p->dir, MNT_DETACH);
	test_dir_remove(p->dir);
}

static void
sweep(struct fail_place *p)
{
	static const char *const names[] = { "run", "state" };
	static const char *const variables[] = { "PYPREP_RUNTIME_DIR", "PYPREP_STATE_DIR" };
	char path[200], text[sizeof(config) + 32];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
		test_dir_remove(path);
		mkdir(path, 0700);
		setenv(variables[i], path, 1);
	}
	unlink(p->log);
	unlink(p->trace);
	snprintf(text, sizeof(text), config, p->store != NULL ? p->store : "sqlite");
	test_write_file(p->dir, "pyprepd.conf", text, NULL, 0);
}

/* ---- processes ---- */

/* The last lines of the log, in one. */
const char *
trial_last_words(const struct fail_place *p)
{
	static char words[400];
	ssize_t n = 0;
	int fd = open(p->log, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		off_t size = lseek(fd, 0, SEEK_END);
		n = pread(fd, words, sizeof(words) - 1, size > 399 ? size - 399 : 0);
		close(fd);
	}
	words[n > 0 ? n : 0] = '\0';
	for (char *at = words; *at != '\0'; at++)
		if (*at == '\n')
			*at = '|';
	return words;
}

void
trial_start(struct trial *t, bool faulty)
{
	t->daemon = test_fork();
	if (t->daemon < 0)
		abort();
	if (t->daemon > 0)
		return;
	int null = open("/dev/null", O_RDONLY);
	int log = open(t->place->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	close_range(3, ~0u, 0);
	setenv("MALLOC_PERTURB_", "165", 1); /* what is used after its end is not what it was */
	if (faulty)
		setenv("LD_PRELOAD", PYPREP_BIN "/../lib/libfail_calls.so", 1);
	execl(PYPREP_BIN "/pyprepd", "pyprepd", (char *)NULL);
	_exit(127);
}

void
trial_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Who can send nothing, or hear nothing, can tell nobody: it is enough that all goes on when that
 * is over. */
static bool
is_mute(const struct trial *t)
{
	return t->point->when != FAIL_ONCE &&
	       (t->point->class == FAIL_SEND || t->point->class == FAIL_RECV);
}

/* pyprepctl with the words of `line`; a word may not have blanks. */
void
trial_ctl(struct trial *t, struct said *said, const char *line, ...)
{
	char words[1024], out[160], err[160];
	char *argv[40] = { PYPREP_BIN "/pyprepctl" };
	int argc = 1;
	va_list list;

	va_start(list, line);
	vsnprintf(words, sizeof(words), line, list);
	va_end(list);
	snprintf(out, sizeof(out), "%s/out", t->place->dir);
	snprintf(err, sizeof(err), "%s/err", t->place->dir);
	for (char *save, *w = strtok_r(words, " ", &save); w != NULL && argc < 39;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	uint64_t begun_ms = test_now_ms();
	pid_t pid = test_fork();
	if (pid == 0) {
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
		dup2(open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
		close_range(3, ~0u, 0);
		execv(argv[0], argv);
		_exit(127);
	}
	int status = wait_exit(pid, is_mute(t) ? SLOW_MS : trial_patience(t));
	if (status < 0 && is_mute(t)) {
		atomic_store(&t->place->control->armed, 0);
		status = wait_exit(pid, trial_patience(t));
	}
	t->slow = t->slow || test_now_ms() - begun_ms > SLOW_MS;
	if (status < 0)
		kill_and_wait(pid, SIGKILL);
	said->status = status < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : -2;
	trial_read(out, said->out, sizeof(said->out));
	trial_read(err, said->err, sizeof(said->err));
	if (status < 0)
		trial_wrong(t, "`%s` did not end; the daemon said: %s", line,
			    trial_last_words(t->place));
	else if (WIFSIGNALED(status))
		trial_wrong(t, "`%s` was ended by signal %d", line, WTERMSIG(status));
}

/* An error has a status of the manual's and a text. */
static void
judge_said(struct trial *t, const char *what, const struct said *said)
{
	int s = said->status;

	if (s <= 0)
		return;
	t->outcome->errors++;
	bool named = s == 1 || s == 3 || s == EX_UNAVAILABLE || s == EX_TEMPFAIL ||
		     s == EX_NOPERM || s >= 124;
	if (!named)
		trial_wrong(t, "%s: exit status %d: %s", what, s, said->err);
	if (said->err[0] == '\0' && said->out[0] == '\0')
		trial_wrong(t, "%s: exit status %d without a word", what, s);
}

/* ---- the script ---- */

static void
take_acks(struct trial *t, const struct said *said)
{
	for (const char *at = said->out; *at != '\0';) {
		char *end;
		uint64_t id = strtoull(at, &end, 10);
		if (end == at)
			break;
		for (unsigned i = 0; i < t->ack_count; i++)
			if (t->acks[i] == id)
				trial_wrong(t, "id %llu was given twice", (unsigned long long)id);
		if (t->ack_count < ACKS_MOST)
			t->acks[t->ack_count++] = id;
		at = end + strspn(end, "\n");
	}
	t->outcome->acknowledged = t->ack_count;
}

/* Run it; 0 must come with `expected`. */
#define TRY(expected, ...)                                                                         \
	do {                                                                                       \
		struct said said_;                                                                 \
		trial_ctl(t, &said_, __VA_ARGS__);                                                 \
		judge_said(t, #__VA_ARGS__, &said_);                                               \
		if (said_.status == 0 && strcmp(said_.out, expected) != 0)                         \
			trial_wrong(t, "%s: a success, and it said: %s", #__VA_ARGS__, said_.out); \
	} while (0)

static void
submit_detached(struct trial *t, const char *what)
{
	struct said said;

	trial_ctl(t, &said, "submit --detach -q %s", what);
	judge_said(t, what, &said);
	take_acks(t, &said);
}

/* As long as nobody has to wait for long. */
static void
script(struct trial *t)
{
	for (unsigned step = 0; !t->slow; step++) {
		switch (step) {
		case 0:
			submit_detached(t, "-n 10 noop");
			break;
		case 1:
		case 2:
			submit_detached(t, "exec -- /bin/sh trace.sh");
			break;
		case 3:
			TRY("a line of output\n", "run exec -- /bin/echo a line of output");
			break;
		case 4:
			TRY("332833500\n", "run sumsq n=1000");
			break;
		case 5:
			TRY("0\n1\n4\n9\n16\n", "map -o - square 0..5");
			break;
		case 6:
			TRY("", "run --pool io sleep ms=1");
			break;
		case 7:
			TRY("1\n", "counter add x 1");
			break;
		default:
			return;
		}
	}
}

/* ---- the daemon's end, and what it left ---- */

static bool
is_crash(int signal)
{
	return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGILL ||
	       signal == SIGFPE || signal == SIGTRAP || signal == SIGSYS;
}

/* It ended by itself: it must have said why, by a status of sysexits.h or 1. */
static void
judge_end(struct trial *t, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

	/* What the disk cannot read is damage; nothing else is. */
	bool unreadable = t->point->class == FAIL_READ && t->point->error == EIO;

	t->daemon = 0;
	t->outcome->refused = true;
	if (WIFSIGNALED(status))
		trial_wrong(t, "the supervisor was ended by signal %d: %s", WTERMSIG(status),
			    trial_last_words(t->place));
	else if (code == 0 || (code == EX_DATAERR && !unreadable) ||
		 (code != 1 && (code < 64 || code > 78)))
		trial_wrong(t, "the supervisor ended with status %d: %s", code,
			    trial_last_words(t->place));
	else if (t->point->class != FAIL_LOG && trial_last_words(t->place)[0] == '\0')
		trial_wrong(t, "the supervisor ended with status %d without a word", code);
}

/* Has it ended by itself? */
static bool
is_gone(struct trial *t)
{
	int status;

	if (t->daemon != 0 && waitpid(t->daemon, &status, WNOHANG) == t->daemon)
		judge_end(t, status);
	return t->daemon == 0;
}

static bool
nothing_left(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void
name_what_is_left(struct trial *t)
{
	pid_t left[64];
	char title[128] = "";
	int n = list_children(getpid(), left, 64);

	for (int i = 0; i < n; i++) {
		(void)process_title(left[i], title, sizeof(title));
		trial_wrong(t, "process %d was left: %s", (int)left[i], title);
		kill_and_wait(left[i], SIGKILL);
	}
}

void
trial_end(struct trial *t, int signal)
{
	if (t->daemon != 0) {
		kill(t->daemon, signal);
		int status = wait_exit(t->daemon, t->place->patience_ms);
		if (status < 0) {
			trial_wrong(t, "the daemon does not end: %s", trial_last_words(t->place));
			kill_and_wait(t->daemon, SIGKILL);
		} else if (signal == SIGTERM && status != 0) {
			trial_wrong(t, "told to end, the daemon ended with status %x: %s",
				    (unsigned)status, trial_last_words(t->place));
		}
		t->daemon = 0;
	}
	if (!wait_until(t->place->patience_ms, nothing_left()))
		name_what_is_left(t);
}

static void
judge_deaths(struct trial *t)
{
	struct fail_control *c = t->place->control;
	unsigned count = c->deaths < FAIL_DEATHS ? c->deaths : FAIL_DEATHS;

	for (unsigned i = 0; i < count; i++) {
		if (!is_crash(c->signals[i]))
			continue;
		if (t->point->class == FAIL_ZMQ && c->signals[i] == SIGABRT)
			t->outcome->aborted++; /* libzmq's way */
		else
			trial_wrong(t, "process %d died of signal %d: %s", (int)c->pids[i],
				    c->signals[i], trial_last_words(t->place));
	}
}

static void
judge_shm(struct trial *t)
{
	if (!t->place->own_shm)
		return;
	struct command_result r = run_command("ls -A /dev/shm");
	if (r.output[0] != '\0')
		trial_wrong(t, "left in /dev/shm: %s", r.output);
	command_free(&r);
}

bool
trial_is_up(struct trial *t)
{
	struct said said;

	if (is_gone(t))
		return true;
	trial_ctl(t, &said, "ping -q");
	return said.status == 0;
}

/* ---- after the fault ---- */

static bool
works(struct trial *t, const char *line, struct said *said)
{
	if (is_gone(t))
		return true;
	trial_ctl(t, said, "%s", line);
	return said->status == 0;
}

static void
count_descriptors(struct trial *t, int *ret)
{
	ret[0] = count_fds(t->daemon);
	ret[1] = count_fds(child_with_title(t->daemon, "pyprepd: broker"));
}

static bool
no_more_descriptors(struct trial *t, int *now)
{
	count_descriptors(t, now);
	return now[0] <= t->place->descriptors[0] && now[1] <= t->place->descriptors[1];
}

/* The fault is over: the same daemon serves again, or has ended with a word. */
static void
judge_recovery(struct trial *t)
{
	static const char *const lines[] = {
		"submit -q noop",
		"submit -q --pool shell exec -- /bin/true",
		"submit -q --pool io sleep ms=1",
		"submit -q --pool threads noop",
		"counter add y 1",
		"submit --detach -q noop",
	};
	struct said said = { 0 };
	int now[2];

	if (is_gone(t))
		return;
	trial_ctl(t, &said, "reload"); /* what was given up is tried again */
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!wait_until(trial_patience(t), works(t, lines[i], &said)))
			trial_wrong(t, "after the fault `%s` does not work: status %d: %s; log: %s",
				    lines[i], said.status, said.err, trial_last_words(t->place));
	if (t->daemon != 0)
		take_acks(t, &said);
	if (is_gone(t) || t->place->descriptors[0] == 0)
		return;
	if (!wait_until(trial_patience(t), is_gone(t) || no_more_descriptors(t, now)))
		trial_wrong(t, "descriptors leak: %d, %d; they were %d, %d", now[0], now[1],
			    t->place->descriptors[0], t->place->descriptors[1]);
}

/* ---- all of it ---- */

static void
arm(struct trial *t)
{
	struct fail_control *c = t->place->control;
	const struct fail_point *p = t->point;

	c->role = p->role;
	c->class = p->class;
	c->error = p->error;
	c->when = p->when;
	c->at = p->at + (p->when_ready ? atomic_load(&c->calls[p->role][p->class]) : 0);
	atomic_store(&c->armed, p->at > 0);
}

void
fail_run(struct fail_place *p, const struct fail_point *point, struct fail_outcome *ret)
{
	struct trial trial = { .place = p, .point = point, .outcome = ret }, *t = &trial;

	*ret = (struct fail_outcome){ 0 };
	sweep(p);
	memset(p->control, 0, sizeof(*p->control));
	if (!point->when_ready)
		arm(t);
	trial_start(t, true);
	(void)wait_until(SLOW_MS, trial_is_up(t));
	if (point->when_ready)
		arm(t);
	if (!is_gone(t))
		script(t);
	atomic_store(&p->control->armed, 0);
	ret->hit = atomic_load(&p->control->hits) > 0;
	memcpy(p->calls, p->control->calls, sizeof(p->calls));
	judge_recovery(t);
	if (point->at == 0 && t->daemon != 0 && p->descriptors[0] == 0)
		count_descriptors(t, p->descriptors);
	trial_end(t, point->at % 2 == 0 ? SIGTERM : SIGKILL);
	judge_deaths(t);
	judge_shm(t);
	trial_judge_jobs(t);
}

void
fail_learn(struct fail_place *p, struct fail_outcome *ret)
{
	static const struct fail_point nothing = { 0 };

	fail_run(p, &nothing, ret);
}

const char *
fail_where(const struct fail_place *p)
{
	static char where[700];
	char command[600];
	int used = snprintf(command, sizeof(command), "addr2line -f -s -e " PYPREP_BIN "/pyprepd");

	for (int i = 0; i < FAIL_FRAMES && p->control->frames[i] != 0; i++)
		used += snprintf(command + used, sizeof(command) - (size_t)used, " %jx",
				 (uintmax_t)(p->control->frames[i] - p->control->base - 1));
	struct command_result r = run_command("%s | paste - - | grep -v '[?]' | cut -f1", command);
	snprintf(where, sizeof(where), " %s", r.output);
	command_free(&r);
	for (char *at = where; *at != '\0'; at++)
		if (*at == '\n')
			*at = ' ';
	return where;
}
