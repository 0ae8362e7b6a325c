/*
 * pipe.c - pyprepctl pipe: a pipe to a process of our own that sends back what it gets, until it
 * is killed.  Shows that what comes back is what was sent, and what that costs.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/command.h"
#include "client/ctl/floor.h"
#include "client/ctl/report.h"
#include "client/ctl/stats.h"
#include "client/ctl/units.h"
#include "ipc/cleanup.h"
#include "ipc/clock.h"
#include "ipc/pipe.h"

#define TEXT_MAX   (64u << 20)
#define PATIENCE   30000 /* ms; the other side answers in microseconds */
#define ANSWER_MAX 256

static struct {
	int64_t bytes, count;
	const char *file;
} arg = { .bytes = 64, .count = 1000 };

static const struct option_row options[] = {
	{ "size", 's', OPTION_INT, &arg.bytes, "BYTES", "length of a frame, without words (64)", 1,
	  TEXT_MAX },
	{ "count", 'n', OPTION_INT, &arg.count, "N", "round trips, and frames one way (1000)", 1,
	  10000000 },
	{ "fd", 0, OPTION_TEXT, &arg.file, "FILE",
	  "open FILE here and pass the descriptor: the other side reads it", 0, 0 },
	OPTION_ROW_JSON,
	OPTION_ROW_END,
};

/* What was found out. */
struct shown {
	size_t bytes;
	struct samples trips;
	double frames_per_s, bytes_per_s;
	uint64_t high_bytes; /* most bytes that waited in the pipe */
	int64_t read_by_fd;  /* bytes that the other side read; -1: not asked */
	uint64_t to_end_ns;  /* from kill to end of file */
	pid_t pid;
};

/* ---- the other side ---- */

/* Count frames until an empty one, then say how many. */
static int
count_frames(struct pipe_end *p, char *buffer, size_t room)
{
	uint64_t frames = 0;
	size_t bytes = 1;

	while (bytes > 0) {
		int r = pipe_recv(p, buffer, room, &bytes, -1);
		if (r < 0)
			return r;
		frames += bytes > 0;
	}
	return pipe_send(p, &frames, sizeof frames, -1);
}

/* Read all of a descriptor and say how many bytes there were. */
static int
read_passed(struct pipe_end *p, struct pipe_fds *fds)
{
	char part[65536];
	int64_t total = 0;
	ssize_t n;

	while ((n = read(fds->fd[0], part, sizeof part)) > 0)
		total += n;
	if (n < 0)
		total = -errno;
	while (fds->count > 0)
		close(fds->fd[--fds->count]);
	return pipe_send(p, &total, sizeof total, -1);
}

/* Send frames back, until an empty one begins a count, or a descriptor comes. */
static void
be_other_side(struct pipe_end *p, size_t room)
{
	char *buffer = ctl_alloc(1, room);
	struct pipe_fds fds;
	size_t bytes;
	int r = 0;

	while (r == 0 && pipe_recv_fds(p, buffer, room, &bytes, &fds, -1) == 0) {
		if (fds.count > 0)
			r = read_passed(p, &fds);
		else if (bytes == 0)
			r = count_frames(p, buffer, room);
		else
			r = pipe_send(p, buffer, bytes, -1);
	}
	_exit(0);
}

/* ---- this side ---- */

static int
pipe_problem(const char *what, int r)
{
	return ctl_fail(EXIT_OURS, "internal", "%s: %s", what,
			r == -EBADMSG ? "what came back is not what was sent" : strerror(-r));
}

static int
round_trips(struct pipe_end *p, const char *frame, struct shown *shown)
{
	char *back = ctl_alloc(1, shown->bytes);
	int r = 0;

	for (int64_t i = 0; i < arg.count && r == 0; i++) {
		size_t bytes = 0;
		uint64_t begun = clock_now();
		r = pipe_send(p, frame, shown->bytes, PATIENCE);
		if (r == 0)
			r = pipe_recv(p, back, shown->bytes, &bytes, PATIENCE);
		samples_add(&shown->trips, clock_now() - begun);
		if (r == 0 && (bytes != shown->bytes || memcmp(back, frame, bytes) != 0))
			r = -EBADMSG;
	}
	free(back);
	return r;
}

static int
one_way(struct pipe_end *p, const char *frame, struct shown *shown)
{
	uint64_t counted = 0, begun;
	size_t bytes;
	int r = pipe_send(p, NULL, 0, PATIENCE);

	begun = clock_now();
	for (int64_t i = 0; i < arg.count && r == 0; i++)
		r = pipe_send(p, frame, shown->bytes, PATIENCE);
	if (r == 0)
		r = pipe_send(p, NULL, 0, PATIENCE);
	if (r == 0)
		r = pipe_recv(p, &counted, sizeof counted, &bytes, PATIENCE);
	if (r < 0)
		return r;
	double seconds = (double)(clock_now() - begun) / NS_PER_S;
	shown->frames_per_s = (double)arg.count / seconds;
	shown->bytes_per_s = shown->frames_per_s * (double)shown->bytes;
	shown->high_bytes = p->counters->high_bytes;
	return counted == (uint64_t)arg.count ? 0 : -EBADMSG;
}

static int
pass_file(struct pipe_end *p, int fd, struct shown *shown)
{
	size_t bytes;
	int r = pipe_send_fds(p, "", 0, &fd, 1, PATIENCE);

	if (r == 0)
		r = pipe_recv(p, &shown->read_by_fd, sizeof shown->read_by_fd, &bytes, PATIENCE);
	return r < 0 ? r : shown->read_by_fd < 0 ? (int)shown->read_by_fd : 0;
}

static int
see_the_end(struct pipe_end *p, struct shown *shown)
{
	char byte;
	size_t bytes;
	uint64_t begun = clock_now();

	kill(shown->pid, SIGKILL);
	int r = pipe_recv(p, &byte, 1, &bytes, PATIENCE);
	shown->to_end_ns = clock_now() - begun;
	return r == -EPIPE ? 0 : r < 0 ? r : -EBADMSG;
}

/* ---- what is sent ---- */

static int
read_stdin(char **ret, size_t *ret_bytes)
{
	size_t room = 65536, have = 0, n;
	char *text = ctl_alloc(1, room);

	while ((n = fread(text + have, 1, room - have, stdin)) > 0) {
		have += n;
		if (have > TEXT_MAX)
			break;
		if (have == room)
			text = ctl_realloc(text, room *= 2);
	}
	*ret = text;
	*ret_bytes = have;
	if (have == 0)
		return ctl_fail(EXIT_USAGE, "usage",
				"standard input is empty: a frame has at "
				"least one byte here");
	if (have > TEXT_MAX)
		return ctl_fail(EXIT_USAGE, "usage", "standard input has more than %u bytes",
				TEXT_MAX);
	return 0;
}

/* The words with a space between, standard input for "-", else a pattern.  Caller frees. */
static int
make_frame(const struct words *words, char **ret, size_t *ret_bytes)
{
	if (words->count == 1 && strcmp(words->word[0], "-") == 0)
		return read_stdin(ret, ret_bytes);
	size_t bytes = words->count > 0 ? 0 : (size_t)arg.bytes;
	for (int i = 0; i < words->count; i++)
		bytes += strlen(words->word[i]) + (i > 0);
	char *frame = ctl_alloc(1, bytes + 1), *at = frame;
	for (int i = 0; i < words->count; i++)
		at += sprintf(at, "%s%s", i > 0 ? " " : "", words->word[i]);
	for (size_t i = 0; i < bytes && words->count == 0; i++)
		frame[i] = (char)('a' + i % 26);
	*ret = frame;
	*ret_bytes = bytes;
	return bytes > 0 ? 0
			 : ctl_fail(EXIT_USAGE, "usage",
				    "the words are empty: a frame has at least one byte here");
}

/* ---- showing ---- */

static void
print_json(struct shown *s)
{
	json_t *o = json_pack(
		"{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:o, s:I}", "schema", "pyprep.pipe/1",
		"bytes", (json_int_t)s->bytes, "round_trips", (json_int_t)s->trips.count, "p50_ns",
		(json_int_t)samples_percentile(&s->trips, 50), "p99_ns",
		(json_int_t)samples_percentile(&s->trips, 99), "frames_per_s", s->frames_per_s,
		"bytes_per_s", s->bytes_per_s, "high_bytes", (json_int_t)s->high_bytes,
		"read_by_descriptor",
		s->read_by_fd < 0 ? json_null() : json_integer((json_int_t)s->read_by_fd),
		"kill_to_end_ns", (json_int_t)s->to_end_ns);
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

static void
print_text(struct shown *s)
{
	printf("frame       %s, sent to process %d and back %s times, each the same\n",
	       unit_bytes(s->bytes).text, (int)s->pid, unit_count(s->trips.count).text);
	printf("round trip  p50 %s, p99 %s\n", unit_time(samples_percentile(&s->trips, 50)).text,
	       unit_time(samples_percentile(&s->trips, 99)).text);
	printf("one way     %s frames/s, %s/s; at most %s waited in the pipe\n",
	       unit_rate(s->frames_per_s).text, unit_bytes((uint64_t)s->bytes_per_s).text,
	       unit_bytes(s->high_bytes).text);
	if (s->read_by_fd >= 0)
		printf("descriptor  of %s: the other side read %s through it\n", arg.file,
		       unit_bytes((uint64_t)s->read_by_fd).text);
	printf("end         the other side was killed: end of file after %s\n",
	       unit_time(s->to_end_ns).text);
}

static int
talk(struct pipe_end *p, int fd, const char *frame, struct shown *shown)
{
	int r = round_trips(p, frame, shown);

	if (r == 0)
		r = one_way(p, frame, shown);
	if (r < 0)
		return pipe_problem("the pipe", r);
	if (fd >= 0 && (r = pass_file(p, fd, shown)) < 0)
		return ctl_fail(EXIT_SOME_FAILED, "unreadable", "the other side cannot read %s: %s",
				arg.file, strerror(-r));
	r = see_the_end(p, shown);
	return r < 0 ? pipe_problem("the end of the pipe", r) : 0;
}

static int
show_pair(int fd, const char *frame, struct shown *shown)
{
	struct pipe_end ours, theirs;
	int r = pipe_create(&ours, &theirs);

	if (r < 0)
		return pipe_problem("cannot make a pipe", r);
	shown->pid = floor_fork();
	if (shown->pid == 0) {
		pipe_close(&ours);
		be_other_side(&theirs, shown->bytes > ANSWER_MAX ? shown->bytes : ANSWER_MAX);
	}
	pipe_close(&theirs);
	int status = shown->pid < 0 ? pipe_problem("cannot fork", -errno)
				    : talk(&ours, fd, frame, shown);
	if (shown->pid > 0)
		floor_kill(shown->pid);
	pipe_close(&ours);
	return status;
}

static int
pipe_run(const struct words *words)
{
	struct shown shown = { .read_by_fd = -1 };
	scoped_free char *frame = NULL;
	scoped_fd fd = arg.file != NULL ? open(arg.file, O_RDONLY | O_CLOEXEC) : -1;

	if (arg.file != NULL && fd < 0)
		return ctl_fail(EXIT_USAGE, "usage", "cannot open %s: %s", arg.file,
				strerror(errno));
	int status = make_frame(words, &frame, &shown.bytes);
	if (status == 0)
		status = show_pair(fd, frame, &shown);
	if (status == 0 && ctl.json)
		print_json(&shown);
	else if (status == 0)
		print_text(&shown);
	samples_free(&shown.trips);
	return status;
}

extern const struct command command_pipe;
const struct command command_pipe = {
	.name = "pipe",
	.args = "[WORD... | -] [--size BYTES] [--count N] [--fd FILE]",
	.summary = "a pipe to a second process and back: round trips, rates, its end",
	.examples = "  pyprepctl pipe hello there\n"
		    "  pyprepctl pipe --size 1048576 --count 100\n"
		    "  pyprepctl pipe --fd /etc/hostname - <README.md\n",
	.more = "Sends the words (- : standard input) as one frame to a process that it forks, "
		"which\n"
		"sends it back; then frames one way; then kills that process and sees the end of\n"
		"file.  No daemon takes part.  pyprep-ipc(7) says what the pipe promises.\n"
		"Exit status: 0 all came back as sent; 1 the other side cannot read FILE.\n",
	.options = options,
	.run = pipe_run,
};
