/*
 * store_wal.c - see store_wal.h.  The format is SQLite's (https://sqlite.org/fileformat.html, "The
 * Write-Ahead Log"): a header of 32 bytes, then frames: 24 bytes and a page.  Numbers are
 * big-endian.  Each checksum goes on from that of the frame before.
 */
#include "daemon/store_wal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_vfs.h"
#include "ipc/cleanup.h"

#define MAGIC        0x377f0682u /* with the lowest bit: checksums of big-endian words */
#define HEADER_BYTES 32u
#define FRAME_HEAD   24u
#define FRAME_BYTES  (FRAME_HEAD + PAGE_BYTES)

struct sum {
	uint32_t a, b;
};

/* The log in memory: it is bounded by the checkpoints, a few MiB. */
struct image {
	unsigned char *bytes;
	size_t length;
	bool big; /* words of checksums are big-endian */
};

static uint32_t
number_at(const unsigned char *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof(n));
	return be32toh(n);
}

static struct sum
add_to(struct sum s, const unsigned char *at, size_t length, bool big)
{
	uint32_t x[2];

	for (size_t i = 0; i + sizeof(x) <= length; i += sizeof(x)) {
		memcpy(x, at + i, sizeof(x));
		s.a += (big ? be32toh(x[0]) : le32toh(x[0])) + s.b;
		s.b += (big ? be32toh(x[1]) : le32toh(x[1])) + s.a;
	}
	return s;
}

static struct sum
sum_at(const unsigned char *at)
{
	return (struct sum){ number_at(at), number_at(at + 4) };
}

static bool
same(struct sum x, struct sum y)
{
	return x.a == y.a && x.b == y.b;
}

/* ---- reading the file ---- */

static int
read_file(const char *path, struct image *ret)
{
	struct stat st;
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	*ret = (struct image){ 0 };
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return 0;
	unsigned char *bytes = malloc((size_t)st.st_size);
	if (bytes == NULL)
		return -ENOMEM;
	size_t length = 0;
	while (length < (size_t)st.st_size) {
		ssize_t n = pread(fd, bytes + length, (size_t)st.st_size - length, (off_t)length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(bytes);
			return -errno;
		}
		if (n == 0)
			break;
		length += (size_t)n;
	}
	ret->bytes = bytes;
	ret->length = length;
	return 0;
}

static bool
read_header(struct image *f)
{
	uint32_t magic = f->length >= HEADER_BYTES ? number_at(f->bytes) : 0;

	if ((magic & ~1u) != MAGIC)
		return false;
	f->big = magic & 1;
	struct sum s = add_to((struct sum){ 0 }, f->bytes, 24, f->big);
	return same(s, sum_at(f->bytes + 24)) && number_at(f->bytes + 8) == PAGE_BYTES;
}

static size_t
frame_count(const struct image *f)
{
	return f->length < HEADER_BYTES ? 0 : (f->length - HEADER_BYTES) / FRAME_BYTES;
}

static const unsigned char *
frame_at(const struct image *f, size_t i)
{
	return f->bytes + HEADER_BYTES + i * FRAME_BYTES;
}

/* Does frame i have the checksum that follows from `before`? */
static bool
is_whole(const struct image *f, size_t i, struct sum before)
{
	const unsigned char *frame = frame_at(f, i);
	struct sum s = add_to(before, frame, 8, f->big);

	s = add_to(s, frame + FRAME_HEAD, PAGE_BYTES, f->big);
	return same(s, sum_at(frame + 16));
}

static bool
has_salt(const struct image *f, size_t i, const unsigned char *salt)
{
	return memcmp(frame_at(f, i) + 8, salt, 8) == 0;
}

static bool
is_commit(const struct image *f, size_t i)
{
	return number_at(frame_at(f, i) + 4) != 0;
}

/* ---- what it says ---- */

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int
note_pages(const struct image *f, struct wal *ret)
{
	if (ret->end.frames == 0)
		return 0;
	ret->pages = malloc(ret->end.frames * sizeof(*ret->pages));
	if (ret->pages == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ret->end.frames; i++)
		ret->pages[i] = number_at(frame_at(f, i));
	ret->page_count = ret->end.frames;
	qsort(ret->pages, ret->page_count, sizeof(*ret->pages), compare);
	return 0;
}

/* Behind frame `gap`, which is not whole: is there more than the rest of its commit?  Frames of
 * this log, whole by themselves, behind the end of a commit: then the gap had been synced. */
static bool
hides_commits(const struct image *f, size_t gap, const unsigned char *salt)
{
	unsigned commits = gap < frame_count(f) && has_salt(f, gap, salt) && is_commit(f, gap);

	for (size_t i = gap + 1; i < frame_count(f); i++) {
		if (!has_salt(f, i, salt) || !is_whole(f, i, sum_at(frame_at(f, i - 1) + 16)))
			continue;
		if (commits > 0)
			return true;
		commits += is_commit(f, i);
	}
	return false;
}

/* Bytes behind frame `first` that belong to this log. */
static uint64_t
torn_bytes(const struct image *f, size_t first, const unsigned char *salt)
{
	size_t count = frame_count(f), last = first;
	size_t left = f->length - HEADER_BYTES - count * FRAME_BYTES;

	for (size_t i = first; i < count; i++)
		if (has_salt(f, i, salt))
			last = i + 1;
	/* A frame that was cut short is the file's last. */
	return (last - first) * (uint64_t)FRAME_BYTES + (last == count ? left : 0);
}

static int
walk(const struct image *f, uint32_t acknowledged, struct wal *ret)
{
	const unsigned char *salt = f->bytes + 16;
	struct sum s = sum_at(f->bytes + 24);
	size_t i, commit = 0;

	for (i = 0; i < frame_count(f); i++) {
		if (!has_salt(f, i, salt) || number_at(frame_at(f, i)) == 0 || !is_whole(f, i, s))
			break;
		s = sum_at(frame_at(f, i) + 16);
		if (is_commit(f, i))
			commit = i + 1;
	}
	ret->end.frames = (uint32_t)commit;
	ret->bytes = HEADER_BYTES + commit * (uint64_t)FRAME_BYTES;
	ret->torn = torn_bytes(f, commit, salt);
	ret->at = HEADER_BYTES + i * (uint64_t)FRAME_BYTES;
	if (commit < acknowledged && i == frame_count(f))
		ret->lost = acknowledged - ret->end.frames; /* all that is there is whole */
	else
		ret->damaged = commit < acknowledged || hides_commits(f, i, salt);
	return note_pages(f, ret);
}

int
wal_read(const char *path, const struct wal_mark *mark, struct wal *ret)
{
	struct image f;
	int r = read_file(path, &f);

	*ret = (struct wal){ 0 };
	if (r < 0)
		return r;
	if (read_header(&f)) {
		ret->there = true;
		ret->end.salt = number_at(f.bytes + 16);
		r = walk(&f, ret->end.salt == mark->salt ? mark->frames : 0, ret);
	} else if (frame_count(&f) > 0) {
		/* Nothing in it counts without its header. */
		ret->damaged = number_at(frame_at(&f, 0) + 8) == mark->salt ||
			       hides_commits(&f, 0, frame_at(&f, 0) + 8);
	} else {
		ret->torn = f.length;
		ret->lost = mark->frames;
	}
	free(f.bytes);
	return r;
}

void
wal_done(struct wal *w)
{
	free(w->pages);
	w->pages = NULL;
}

bool
wal_has_page(const void *wal, uint32_t page)
{
	const struct wal *w = wal;

	return w->page_count > 0 &&
	       bsearch(&page, w->pages, w->page_count, sizeof(page), compare) != NULL;
}

/* ---- every frame ---- */

/* The checksum of the frame before, or of the header. */
static struct sum
sum_before(const struct image *f, size_t i)
{
	return sum_at(i == 0 ? f->bytes + 24 : frame_at(f, i - 1) + 16);
}

static size_t
last_commit(const struct image *f, const unsigned char *salt)
{
	size_t count = 0;

	for (size_t i = 0; i < frame_count(f); i++)
		if (has_salt(f, i, salt) && is_commit(f, i) && is_whole(f, i, sum_before(f, i)))
			count = i + 1;
	return count;
}

int
wal_frames(const char *path, struct wal_frame **ret, size_t *ret_count, uint32_t *ret_pages)
{
	struct image f;
	int r = read_file(path, &f);

	*ret = NULL;
	*ret_count = 0;
	*ret_pages = 0;
	if (r < 0 || frame_count(&f) == 0) {
		free(f.bytes);
		return r;
	}
	/* A header that is damaged is made up for by the first frame, which repeats its salt. */
	f.big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
	const unsigned char *salt = read_header(&f) ? f.bytes + 16 : frame_at(&f, 0) + 8;
	size_t count = last_commit(&f, salt);
	struct wal_frame *frames = calloc(count + 1, sizeof(*frames));
	for (size_t i = 0; i < count && frames != NULL; i++) {
		frames[i] = (struct wal_frame){
			.page = number_at(frame_at(&f, i)),
			.at = HEADER_BYTES + i * (uint64_t)FRAME_BYTES + FRAME_HEAD,
			.sure = has_salt(&f, i, salt) && is_whole(&f, i, sum_before(&f, i)),
		};
		if (frames[i].sure && is_commit(&f, i))
			*ret_pages = number_at(frame_at(&f, i) + 4);
	}
	free(f.bytes);
	if (frames == NULL)
		return -ENOMEM;
	*ret = frames;
	*ret_count = count;
	return 0;
}

/* ---- cutting ---- */

int
wal_salt(int fd, uint32_t *ret)
{
	unsigned char header[HEADER_BYTES];
	size_t length = 0;
	ssize_t n;

	do {
		n = pread(fd, header + length, sizeof(header) - length, (off_t)length);
		if (n < 0 && errno != EINTR)
			return -errno;
		length += n > 0 ? (size_t)n : 0;
	} while (n != 0 && length < sizeof(header));
	*ret = length == sizeof(header) ? number_at(header + 16) : 0;
	return 0;
}

int
wal_cut(const char *path, const struct wal_mark *mark)
{
	scoped_fd fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	off_t keep = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	uint32_t salt = 0;
	int r = wal_salt(fd, &salt);
	if (r < 0)
		return r;
	if (mark->frames > 0 && mark->salt == 0) /* it could not be read when they were written */
		return -EIO;
	/* Another salt: the log was begun anew by what failed; all before it is in the database. */
	if (mark->frames > 0 && salt == mark->salt)
		keep = (off_t)HEADER_BYTES + (off_t)mark->frames * FRAME_BYTES;
	if (st.st_size <= keep)
		return 0;
	return ftruncate(fd, keep) < 0 ? -errno : 0;
}
