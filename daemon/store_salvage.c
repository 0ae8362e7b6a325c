/* store_salvage.c - the pages of a store; see store_salvage.h.  Formats:
 * https://sqlite.org/fileformat.html */
#include "daemon/store_salvage.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_sqlite.h"
#include "daemon/store_vfs.h"
#include "daemon/store_wal.h"

/* Of the header, which is in page 1. */
#define HEADER_PAGES      28
#define HEADER_FREE_TRUNK 32
#define HEADER_FREE_COUNT 36
#define TRUNK_LEAVES_MOST ((PAGE_BYTES - PAGE_RESERVED) / 4 - 2)

enum { PLACE_FREE = 1, PLACE_LOG = 2, PLACE_SURE = 4, PLACE_DAMAGED = 8 };

struct place {
	uint64_t at; /* in its file */
	uint32_t flags;
};

struct salvage {
	int database, log;
	struct place *place; /* by page number, from 1 */
	uint32_t count;
	uint32_t *order; /* pages, older copies first */
	uint32_t order_count;
	struct salvage_found found;
};

static uint32_t
number_at(const unsigned char *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof(n));
	return be32toh(n);
}

static int
open_file(const char *state_dir, const char *name, int *ret_fd, uint64_t *ret_bytes)
{
	char path[PATH_MAX + 32];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", state_dir, name);
	*ret_bytes = 0;
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(*ret_fd, &st) < 0)
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static bool
read_at(int fd, uint64_t at, unsigned char *page)
{
	size_t length = 0;

	while (fd >= 0 && length < PAGE_BYTES) {
		ssize_t n = pread(fd, page + length, PAGE_BYTES - length, (off_t)(at + length));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	/* What a short file lacks is zeros: its last page may hold rows all the same. */
	memset(page + length, 0, PAGE_BYTES - length);
	return length > 0;
}

bool
salvage_page(const struct salvage *g, uint32_t number, unsigned char *page, bool *ret_good)
{
	if (number == 0 || number > g->count)
		return false;
	const struct place *p = &g->place[number];
	*ret_good = (p->flags & PLACE_DAMAGED) == 0;
	return read_at(p->flags & PLACE_LOG ? g->log : g->database, p->at, page);
}

uint32_t
salvage_page_count(const struct salvage *g)
{
	return g->count;
}

uint32_t
salvage_page_at(const struct salvage *g, uint32_t index)
{
	return index < g->order_count ? g->order[index] : 0;
}

/* ---- where the newest copies are ---- */

static int
find_places(struct salvage *g, uint64_t database_bytes, const struct wal_frame *frames,
	    size_t frame_count)
{
	uint32_t count = (uint32_t)((database_bytes + PAGE_BYTES - 1) / PAGE_BYTES);

	/* A damaged frame may name any page: it makes the database no longer. */
	for (size_t i = 0; i < frame_count; i++)
		if (frames[i].sure && frames[i].page > count)
			count = frames[i].page;
	g->place = calloc((size_t)count + 1, sizeof(*g->place));
	g->order = calloc((size_t)count + 1, sizeof(*g->order));
	if (g->place == NULL || g->order == NULL)
		return -ENOMEM;
	g->count = count;
	for (uint32_t n = 1; n <= count; n++)
		g->place[n].at = (uint64_t)(n - 1) * PAGE_BYTES;
	for (size_t i = 0; i < frame_count; i++)
		if (frames[i].page != 0 && frames[i].page <= count)
			g->place[frames[i].page] =
				(struct place){ frames[i].at,
						PLACE_LOG | (frames[i].sure ? PLACE_SURE : 0) };
	return 0;
}

static void
look_at_pages(struct salvage *g)
{
	unsigned char page[PAGE_BYTES];

	for (uint32_t n = 1; n <= g->count; n++) {
		struct place *p = &g->place[n];
		bool good = p->flags & PLACE_LOG
				    ? (p->flags & PLACE_SURE) != 0
				    : read_at(g->database, p->at, page) &&
					      store_page_state(page, n) != PAGE_DAMAGED;
		if (!good)
			p->flags |= PLACE_DAMAGED;
	}
}

/* Only what good pages say is believed. */
static void
find_free_pages(struct salvage *g)
{
	unsigned char page[PAGE_BYTES];
	bool good;

	if (!salvage_page(g, 1, page, &good) || !good) {
		g->found.free_unknown = true;
		return;
	}
	uint32_t trunk = number_at(page + HEADER_FREE_TRUNK);
	uint32_t expected = number_at(page + HEADER_FREE_COUNT);
	while (trunk != 0 && g->found.free_pages < expected) {
		if (!salvage_page(g, trunk, page, &good) || !good ||
		    number_at(page + 4) > TRUNK_LEAVES_MOST)
			break;
		g->place[trunk].flags |= PLACE_FREE;
		g->found.free_pages++;
		for (uint32_t i = 0; i < number_at(page + 4); i++) {
			uint32_t leaf = number_at(page + 8 + 4 * (size_t)i);
			if (leaf == 0 || leaf > g->count)
				continue;
			g->place[leaf].flags |= PLACE_FREE;
			g->found.free_pages++;
		}
		trunk = number_at(page);
	}
	g->found.free_unknown = g->found.free_pages != expected;
}

/* What lies behind the database's end is left over from when it was longer. */
static void
cut_at_its_length(struct salvage *g, uint32_t pages_with_log)
{
	unsigned char page[PAGE_BYTES];
	bool good;
	uint32_t pages = pages_with_log;

	if (pages == 0 && salvage_page(g, 1, page, &good) && good)
		pages = number_at(page + HEADER_PAGES);
	if (pages > g->count)
		g->found.missing_pages = pages - g->count;
	else if (pages > 0)
		g->count = pages;
}

static void
put_in_order(struct salvage *g, const struct wal_frame *frames, size_t frame_count)
{
	for (uint32_t n = 1; n <= g->count; n++)
		if ((g->place[n].flags & (PLACE_LOG | PLACE_FREE)) == 0)
			g->order[g->order_count++] = n;
	for (size_t i = 0; i < frame_count; i++) {
		uint32_t n = frames[i].page;
		if (n != 0 && n <= g->count && (g->place[n].flags & PLACE_LOG) &&
		    (g->place[n].flags & PLACE_FREE) == 0 && g->place[n].at == frames[i].at)
			g->order[g->order_count++] = n;
	}
}

static void
count_pages(struct salvage *g)
{
	g->found.pages = g->count;
	for (uint32_t n = 1; n <= g->count; n++)
		g->found.damaged_pages += (g->place[n].flags & PLACE_DAMAGED) != 0;
}

int
salvage_open(struct salvage **ret, const char *state_dir)
{
	uint64_t database_bytes = 0, log_bytes = 0;
	struct wal_frame *frames = NULL;
	size_t frame_count = 0;
	uint32_t pages = 0;
	char path[PATH_MAX + 32];
	struct salvage *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return -ENOMEM;
	g->database = g->log = -1;
	snprintf(path, sizeof(path), "%s/" STORE_FILE "-wal", state_dir);
	int r = open_file(state_dir, STORE_FILE, &g->database, &database_bytes);
	if (r == 0)
		r = open_file(state_dir, STORE_FILE "-wal", &g->log, &log_bytes);
	if (r == 0 && g->database < 0 && g->log < 0)
		r = -ENOENT;
	if (r == 0)
		r = wal_frames(path, &frames, &frame_count, &pages);
	if (r == 0)
		r = find_places(g, database_bytes, frames, frame_count);
	if (r == 0) {
		look_at_pages(g);
		cut_at_its_length(g, pages);
		find_free_pages(g);
		put_in_order(g, frames, frame_count);
		count_pages(g);
		g->found.bytes = database_bytes + log_bytes;
		g->found.frames = (uint32_t)frame_count;
	}
	free(frames);
	if (r == 0)
		*ret = g;
	else
		salvage_close(g);
	return r;
}

void
salvage_close(struct salvage *g)
{
	if (g == NULL)
		return;
	if (g->database >= 0)
		close(g->database);
	if (g->log >= 0)
		close(g->log);
	free(g->place);
	free(g->order);
	free(g);
}

void
salvage_found(const struct salvage *g, struct salvage_found *ret)
{
	*ret = g->found;
}

uint32_t
salvage_next_damaged(const struct salvage *g, uint32_t page, bool *ret_in_log, uint64_t *ret_at)
{
	for (uint32_t n = page + 1; n <= g->count; n++) {
		if ((g->place[n].flags & PLACE_DAMAGED) == 0)
			continue;
		*ret_in_log = (g->place[n].flags & PLACE_LOG) != 0;
		*ret_at = g->place[n].at;
		return n;
	}
	return 0;
}
