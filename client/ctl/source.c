/* source.c - the items of a map: the numbers of a range, or the lines of stdin. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "client/ctl/map.h"
#include "client/ctl/report.h"

#define READ_BYTES 65536

static enum source_state
next_number(struct source *s, const char **ret)
{
	if (s->next >= s->high)
		return SOURCE_END;
	snprintf(s->number, sizeof s->number, "%" PRId64, s->next++);
	*ret = s->number;
	return SOURCE_ITEM;
}

static enum source_state
next_line(struct source *s, const char **ret)
{
	if (!s->buffer)
		return s->ended ? SOURCE_END : SOURCE_LATER;
	char *line = s->buffer + s->start;
	char *newline = memchr(line, '\n', s->length);

	if (!newline && !s->ended)
		return SOURCE_LATER;
	if (!newline && s->length == 0)
		return SOURCE_END;
	/* the last line may lack its newline: source_fill() keeps a byte for the NUL */
	size_t length = newline ? (size_t)(newline - line) : s->length;
	line[length] = '\0';
	s->start += length + (newline != NULL);
	s->length -= length + (newline != NULL);
	*ret = line;
	return SOURCE_ITEM;
}

enum source_state
source_next(struct source *s, const char **ret)
{
	return s->range ? next_number(s, ret) : next_line(s, ret);
}

int
source_fill(struct source *s)
{
	if (s->start > 0)
		memmove(s->buffer, s->buffer + s->start, s->length);
	s->start = 0;
	if (s->capacity < s->length + READ_BYTES + 1) {
		s->capacity = 2 * s->length + READ_BYTES + 1;
		s->buffer = ctl_realloc(s->buffer, s->capacity);
	}
	ssize_t got = read(STDIN_FILENO, s->buffer + s->length, READ_BYTES);
	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (got == 0)
		s->ended = true;
	s->length += (size_t)got;
	return 0;
}
