/* process.c - see process.h */
#include "tests/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMAND_MS 60000

uint64_t
test_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void
test_pause(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

pid_t
test_fork(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	return 0;
}

int
kill_and_wait(pid_t pid, int signal)
{
	int status;
	if (kill(pid, signal) < 0)
		return -errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

int
wait_exit(pid_t pid, unsigned ms)
{
	int status = 0;
	pid_t got = 0;
	wait_until(ms, (got = waitpid(pid, &status, WNOHANG)) != 0);
	if (got == pid)
		return status;
	return got < 0 ? -errno : -ETIMEDOUT;
}

/* Read /proc/PID/NAME; the length, or -errno. */
static ssize_t
read_proc(pid_t pid, const char *name, char *buffer, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buffer, size - 1);
	int error = errno;
	close(fd);
	if (n < 0)
		return -error;
	buffer[n] = '\0';
	return n;
}

/* State and parent from /proc/PID/stat; false when it is gone. */
static bool
process_stat(pid_t pid, char *state, pid_t *parent)
{
	char text[512];
	if (read_proc(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	const char *end = strrchr(text, ')'); /* the name may hold anything */
	return end != NULL && sscanf(end + 1, " %c %d", state, parent) == 2;
}

char
process_state(pid_t pid)
{
	char state;
	pid_t parent;
	return process_stat(pid, &state, &parent) ? state : 0;
}

bool
process_exists(pid_t pid)
{
	char state = process_state(pid);
	return state != 0 && state != 'Z' && state != 'X';
}

static int
count_entries(pid_t pid, const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return -errno;
	int n = 0;
	for (struct dirent *e; (e = readdir(dir)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

int
count_fds(pid_t pid)
{
	int n = count_entries(pid, "fd");
	return n > 0 && pid == getpid() ? n - 1 : n; /* our own look at it */
}

int
count_threads(pid_t pid)
{
	return count_entries(pid, "task");
}

/* Call `visit` for every process whose parent is `parent`. */
static void
each_child(pid_t parent, void (*visit)(void *context, pid_t pid, char state), void *context)
{
	DIR *dir = opendir("/proc");
	if (dir == NULL)
		return;
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		char state;
		pid_t pid = atoi(e->d_name), its_parent;
		if (isdigit((unsigned char)e->d_name[0]) &&
		    process_stat(pid, &state, &its_parent) && its_parent == parent)
			visit(context, pid, state);
	}
	closedir(dir);
}

struct child_list {
	pid_t *children;
	int count, max, zombies;
};

static void
note_child(void *context, pid_t pid, char state)
{
	struct child_list *list = context;
	if (list->count < list->max)
		list->children[list->count++] = pid;
	list->zombies += state == 'Z';
}

int
list_children(pid_t pid, pid_t *children, int max)
{
	struct child_list list = { .children = children, .max = max };
	each_child(pid, note_child, &list);
	return list.count;
}

int
count_zombies(pid_t parent)
{
	struct child_list list = { 0 };
	each_child(parent, note_child, &list);
	return list.zombies;
}

bool
process_title(pid_t pid, char *buffer, size_t size)
{
	ssize_t n = read_proc(pid, "cmdline", buffer, size);
	if (n <= 0)
		return false;
	while (n > 0 && buffer[n - 1] == '\0')
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (buffer[i] == '\0')
			buffer[i] = ' ';
	return true;
}

int
count_titled(const char *title)
{
	DIR *dir = opendir("/proc");
	char text[256];
	int n = 0;

	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
		n += isdigit((unsigned char)e->d_name[0]) &&
		     process_title(atoi(e->d_name), text, sizeof(text)) && strcmp(text, title) == 0;
	if (dir != NULL)
		closedir(dir);
	return n;
}

pid_t
child_with_title(pid_t pid, const char *title)
{
	pid_t children[128];
	char text[128];
	int n = list_children(pid, children, 128);

	for (int i = 0; i < n; i++)
		if (process_title(children[i], text, sizeof(text)) && strcmp(text, title) == 0)
			return children[i];
	return 0;
}

uint64_t
process_memory(pid_t pid, const char *field)
{
	char text[4096];
	if (read_proc(pid, "status", text, sizeof(text)) <= 0)
		return 0;
	size_t length = strlen(field);
	for (char *line = text; line != NULL && *line != '\0';) {
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			return strtoull(line + length + 1, NULL, 10) * 1024;
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	return 0;
}

/* ---- commands ---- */

struct sink {
	int fd;
	char *bytes;
	size_t length;
};

/* Take what the pipe has; false at its end. */
static bool
sink_read(struct sink *s)
{
	char *grown = realloc(s->bytes, s->length + 65536 + 1);
	if (grown == NULL)
		abort();
	s->bytes = grown;
	ssize_t n = read(s->fd, s->bytes + s->length, 65536);
	if (n > 0)
		s->length += (size_t)n;
	s->bytes[s->length] = '\0';
	return n > 0 || (n < 0 && errno == EINTR);
}

static void
drain(struct sink sinks[2], uint64_t deadline)
{
	int open_count = 2;
	while (open_count > 0 && test_now_ms() < deadline) {
		struct pollfd p[2] = { { .fd = sinks[0].fd, .events = POLLIN },
				       { .fd = sinks[1].fd, .events = POLLIN } };
		if (poll(p, 2, 100) <= 0)
			continue;
		for (int i = 0; i < 2; i++) {
			if (p[i].revents == 0 || sink_read(&sinks[i]))
				continue;
			close(sinks[i].fd);
			sinks[i].fd = -1;
			open_count--;
		}
	}
	for (int i = 0; i < 2; i++)
		if (sinks[i].fd >= 0)
			close(sinks[i].fd);
}

static pid_t
start_shell(const char *command, int out, int err)
{
	pid_t pid = test_fork();
	if (pid != 0)
		return pid;
	setpgid(0, 0);
	int null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(out, 1);
	dup2(err, 2);
	close_range(3, ~0u, 0);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

struct command_result
run_command(const char *format, ...)
{
	char *command;
	va_list list;
	va_start(list, format);
	if (vasprintf(&command, format, list) < 0)
		abort();
	va_end(list);

	int out[2], err[2];
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		abort();
	pid_t pid = start_shell(command, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	free(command);

	uint64_t deadline = test_now_ms() + COMMAND_MS;
	struct sink sinks[2] = { { .fd = out[0], .bytes = calloc(1, 1) },
				 { .fd = err[0], .bytes = calloc(1, 1) } };
	drain(sinks, deadline);
	uint64_t now = test_now_ms();
	int status = wait_exit(pid, now < deadline ? (unsigned)(deadline - now) : 0);
	if (status < 0) {
		kill(-pid, SIGKILL);
		status = kill_and_wait(pid, SIGKILL);
	}
	return (struct command_result){
		.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status),
		.output = sinks[0].bytes,
		.output_length = sinks[0].length,
		.errors = sinks[1].bytes,
	};
}

void
command_free(struct command_result *result)
{
	free(result->output);
	free(result->errors);
	*result = (struct command_result){ 0 };
}
