/* queue_put.c - pyprepctl queue put: words, or lines of standard input, as messages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/print_json.h"
#include "client/ctl/queue.h"
#include "client/ctl/report.h"

struct putting {
	const char *name;
	struct queue *q;
	uint64_t count;
};

/* How many went in before it is said by the caller in any case. */
static int
put_fail(const struct putting *p, size_t length, int r)
{
	if (r == -EMSGSIZE)
		return ctl_fail(EXIT_USAGE, "too_long",
				"a message of %zu bytes; queue '%s' takes %u ('queue create "
				"--message-max' decides)",
				length, p->name, queue_message_max(p->q));
	if (r == -EAGAIN)
		return ctl_fail(EXIT_TRY_LATER, "full", "queue '%s' is full: %u messages", p->name,
				queue_capacity(p->q));
	if (r == -ETIMEDOUT)
		return ctl_fail(EXIT_TIMED_OUT, "timed_out",
				"queue '%s' had no room within the timeout", p->name);
	return queue_fail(p->name, r);
}

static int
put_one(struct putting *p, const char *message, size_t length)
{
	int r = length > UINT32_MAX ? -EMSGSIZE
				    : queue_put(p->q, message, (uint32_t)length, queue_patience());
	if (r < 0)
		return put_fail(p, length, r);
	p->count++;
	return 0;
}

static int
put_lines(struct putting *p)
{
	char *line = NULL;
	size_t room = 0;
	int status = 0;

	while (status == 0) {
		ssize_t length = getline(&line, &room, stdin);
		if (length < 0)
			break;
		if (length > 0 && line[length - 1] == '\n')
			length--;
		status = put_one(p, line, (size_t)length);
	}
	free(line);
	if (status == 0 && ferror(stdin))
		status = ctl_fail(EXIT_OURS, "internal", "cannot read standard input: %s",
				  strerror(errno));
	return status;
}

static int
put_words(struct putting *p, char **word, int count)
{
	int status = 0;

	for (int i = 0; i < count && status == 0; i++)
		status = put_one(p, word[i], strlen(word[i]));
	return status;
}

int
queue_verb_put(char **word, int count)
{
	struct putting p = { .name = word[0] };

	int r = queue_open(p.name, &p.q);
	if (r < 0)
		return queue_fail(p.name, r);
	bool lines = count == 1 || (count == 2 && strcmp(word[1], "-") == 0);
	int status = lines ? put_lines(&p) : put_words(&p, word + 1, count - 1);
	if (ctl.json)
		json_print_line(json_pack("{s:s, s:s, s:o}", "schema", "pyprep.queue_put/1",
					  "queue", p.name, "put", json_of_u64(p.count)));
	else if (!ctl.quiet)
		printf("put %" PRIu64 " message%s\n", p.count, p.count == 1 ? "" : "s");
	queue_detach(p.q);
	return status;
}
