/*
 * lines.c - count the lines, words and bytes of a file, and turn its letters to capitals on
 * the way: in a small buffer (constant memory), or after loading all of it.
 *
 * Counts are those of wc(1): a line is a newline, a word is what stands between white
 * space of ASCII.  Both modes come to the same answer; their peak memory differs.
 */
#include "daemon/kind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/kinds/file.h"
#include "ipc/cleanup.h"

enum { PATH, MODE };
enum { MODE_STREAM, MODE_WHOLE };

#define STREAM_BYTES 65536
#define WHOLE_BYTES  65536 /* the first size of the buffer, when the file does not tell */

struct counts {
	uint64_t lines, words, bytes;
	bool in_word;
};

/* White space as isspace(3) has it in the C locale. */
static bool
is_space(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
count(struct counts *counts, unsigned char *text, size_t length)
{
	bool in_word = counts->in_word;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = text[i];
		bool space = is_space(c);
		counts->lines += c == '\n';
		counts->words += !space && !in_word;
		in_word = !space;
		/* without a branch: letters come and go too often to be predicted */
		text[i] = (unsigned char)(c - ((unsigned)(c - 'a') < 26) * ('a' - 'A'));
	}
	counts->in_word = in_word;
	counts->bytes += length;
	/* Nobody reads the capitals: have them written all the same. */
	__asm__ volatile("" : : "r"(text) : "memory");
}

static int
count_stream(int fd, struct counts *counts)
{
	unsigned char buffer[STREAM_BYTES];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		count(counts, buffer, (size_t)n);
	}
	return 0;
}

/* Files of /proc say they are empty, and others grow: read until the end is there. */
static int
count_whole(int fd, uint64_t size, struct counts *counts)
{
	size_t capacity = size > 0 ? size + 1 : WHOLE_BYTES;
	size_t length = 0;
	scoped_free unsigned char *all = malloc(capacity);

	while (all != NULL) {
		if (length == capacity) {
			unsigned char *larger = realloc(all, 2 * capacity);
			if (larger == NULL)
				break;
			all = larger;
			capacity *= 2;
		}
		ssize_t n = read(fd, all + length, capacity - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			count(counts, all, length);
			return 0;
		}
		length += (size_t)n;
	}
	return -ENOMEM;
}

static void
lines_run(struct call *call)
{
	const char *path = args_text(call->args, PATH, NULL);
	struct counts counts = { 0 };
	uint64_t size;

	scoped_fd fd = file_open(call, path, &size);
	if (fd < 0)
		return; /* file_open() said why */
	int r = args_int(call->args, MODE) == MODE_WHOLE ? count_whole(fd, size, &counts)
							 : count_stream(fd, &counts);
	if (r == -ENOMEM) {
		call_no_memory(call, "no memory to hold %s; mode=stream needs little", path);
		return;
	}
	if (r < 0) {
		call_fail(call, "cannot read %s: %s", path, strerror(-r));
		return;
	}
	msgpack_packer p = call_packer(call);
	msgpack_pack_map(&p, 3);
	msgpack_pack_str_with_body(&p, "lines", 5);
	msgpack_pack_uint64(&p, counts.lines);
	msgpack_pack_str_with_body(&p, "words", 5);
	msgpack_pack_uint64(&p, counts.words);
	msgpack_pack_str_with_body(&p, "bytes", 5);
	msgpack_pack_uint64(&p, counts.bytes);
}

const struct kind kind_lines = {
	.name = "lines",
	.class = KIND_CPU,
	.help = "count lines, words and bytes of a file, in constant memory or loading it all",
	.params = {
		[PATH] = { .name = "path", .type = PARAM_PATH, .low = 1, .high = FILE_PATH_MAX,
			   .help = "the file; absolute" },
		[MODE] = { .name = "mode", .type = PARAM_ENUM, .fallback = "stream",
			   .choices = "stream|whole", .help = "a piece at a time, or all at once" },
	},
	.run = lines_run,
};
