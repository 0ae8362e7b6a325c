/* endings_tree.c - the trees of endings.h: what they are made of, what is seen of them, and a
 * supervisor that ends them badly. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/daemon/endings.h"

#define PATIENCE_MS 20000

const char *const tree_kinds[TREE_KINDS] = { "obedient", "stubborn", "faithless", "forking" };

/* sh tree.sh KIND NUMBER: eight processes or more; "up", twice, when they stand.  A signal that is
 * ignored stays so over exec. */
static const char script[] =
	"cd \"${0%/*}\" || exit\n"
	"exec 9>pipe.$2 8>lock.$2\n"
	"flock -n 8 || echo x $PYPREP_JOB $PYPREP_ATTEMPT >>trace\n"
	"echo b $PYPREP_JOB $PYPREP_ATTEMPT >>trace\n"
	"[ $1 != stubborn ] || trap '' TERM\n"
	"sleep 1000 &\n"
	"setsid sleep 1000 &\n"
	"(setsid sh -c 'sleep 1000 & sleep 1000 & echo up >&9; wait' &)\n"
	"[ $1 != faithless ] || (trap '' TERM; exec setsid sleep 1000) &\n"
	"[ $1 != large ] || for i in $(seq 200); do sleep 1000 & done\n"
	"[ $1 != forking ] || (trap '' TERM; while :; do sleep 0.03 & sleep 0.01; done) &\n"
	"(sleep 1000 &)\n"
	"echo up >&9\n"
	"wait\n";

void
tree_script(const char *directory)
{
	test_write_file(directory, "tree.sh", script, NULL, 0);
	test_write_file(directory, "trace", "", NULL, 0);
}

/* ---- what is seen ---- */

struct mark {
	unsigned long long job;
	unsigned attempt;
};

static int
by_job(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	if (x->job != y->job)
		return x->job < y->job ? -1 : 1;
	return x->attempt < y->attempt ? -1 : x->attempt > y->attempt;
}

void
tree_trace(const char *directory, struct endings_report *ret)
{
	struct mark *marks = NULL, mark;
	size_t count = 0;
	char path[200], what;

	snprintf(path, sizeof(path), "%s/trace", directory);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		abort();
	while (fscanf(f, " %c %llu %u", &what, &mark.job, &mark.attempt) == 3) {
		if (what == 'x') {
			ret->at_once++;
			continue;
		}
		marks = realloc(marks, (count + 1) * sizeof(*marks));
		marks[count++] = mark;
	}
	fclose(f);
	if (count > 0)
		qsort(marks, count, sizeof(*marks), by_job);
	for (size_t i = 1; i < count; i++)
		ret->twice += by_job(&marks[i - 1], &marks[i]) == 0;
	ret->begun = count;
	free(marks);
}

/* Does its environment say that it is a job's, with scratch below `directory`? */
static bool
is_of_a_job(const char *pid, const char *directory)
{
	static char bytes[65536];
	char path[300], scratch[300];
	bool job = false, ours = false;

	snprintf(path, sizeof(path), "/proc/%s/environ", pid);
	int n = snprintf(scratch, sizeof(scratch), "PYPREP_SCRATCH=%s/", directory);
	FILE *f = fopen(path, "re");
	size_t length = f != NULL ? fread(bytes, 1, sizeof(bytes) - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	bytes[length] = '\0';
	for (const char *at = bytes; at < bytes + length; at += strlen(at) + 1) {
		job |= strncmp(at, "PYPREP_JOB=", 11) == 0;
		ours |= strncmp(at, scratch, (size_t)n) == 0;
	}
	return job && ours;
}

unsigned
tree_processes(const char *directory)
{
	unsigned count = 0;

	DIR *proc = opendir("/proc");
	for (struct dirent *e; proc != NULL && (e = readdir(proc)) != NULL;)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			count += is_of_a_job(e->d_name, directory);
	if (proc != NULL)
		closedir(proc);
	return count;
}

/* ---- the control arm ---- */

static pid_t
start_tree(const char *directory, const char *attempt)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/tree.sh", directory);
	pid_t pid = test_fork();
	if (pid != 0)
		return pid;
	setenv("PYPREP_JOB", "1", 1);
	setenv("PYPREP_ATTEMPT", attempt, 1);
	execlp("sh", "sh", path, tree_kinds[TREE_OBEDIENT], "1", (char *)NULL);
	_exit(127);
}

static bool
stands(int pipe, size_t *said)
{
	char bytes[64];
	ssize_t n = read(pipe, bytes, sizeof(bytes));

	*said += n > 0 ? (size_t)n : 0;
	return *said >= TREE_UP;
}

static bool
is_open(int pipe)
{
	char bytes[64];
	ssize_t n;

	while ((n = read(pipe, bytes, sizeof(bytes))) > 0)
		;
	return n < 0 && errno == EAGAIN;
}

/* All below this process, which is their reaper.  (PR_SET_PDEATHSIG is of no use for those forked
 * twice.) */
static void
kill_all(void)
{
	pid_t children[64];
	int n;

	while ((n = list_children(getpid(), children, 64)) > 0)
		for (int i = 0; i < n; i++) {
			kill(children[i], SIGKILL);
			waitpid(children[i], NULL, 0);
		}
}

static void __attribute__((noreturn)) naive_supervisor(const char *directory, int told)
{
	struct naive_report seen = { 0 };
	struct endings_report marks = { 0 };
	char path[200];

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	snprintf(path, sizeof(path), "%s/pipe.1", directory);
	int pipe = mkfifo(path, 0600) == 0 ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	pid_t leader = start_tree(directory, "1");
	size_t said = 0;
	seen.stood = wait_until(PATIENCE_MS, stands(pipe, &said));
	kill_and_wait(leader, SIGKILL);
	seen.left = is_open(pipe);
	start_tree(directory, "2");
	said = 0;
	seen.stood &= wait_until(PATIENCE_MS, stands(pipe, &said));
	tree_trace(directory, &marks);
	seen.at_once = marks.at_once == 1 && marks.begun == 2;
	kill_all();
	seen.gone = !is_open(pipe);
	_exit(write(told, &seen, sizeof(seen)) == sizeof(seen) ? 0 : 1);
}

void
end_naively(struct naive_report *ret)
{
	char directory[96];
	int told[2];

	*ret = (struct naive_report){ 0 };
	test_dir_make(directory, sizeof(directory));
	tree_script(directory);
	if (pipe2(told, O_CLOEXEC) < 0)
		abort();
	pid_t pid = test_fork();
	if (pid == 0)
		naive_supervisor(directory, told[1]);
	close(told[1]);
	if (read(told[0], ret, sizeof(*ret)) != sizeof(*ret))
		*ret = (struct naive_report){ 0 };
	close(told[0]);
	wait_exit(pid, PATIENCE_MS);
	test_dir_remove(directory);
}
