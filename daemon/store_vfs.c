/* store_vfs.c - see store_vfs.h */
#include "daemon/store_vfs.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define HEADER_BYTES      100
#define SUBPAGE_READ      0x8000 /* SQLITE_IOCAP_SUBPAGE_READ, which older headers do not have */
#define CHECKED_BYTES     (PAGE_BYTES - PAGE_RESERVED)
#define HEADER_PAGE_BYTES 16 /* where the header says how long a page is, ... */
#define HEADER_RESERVED   20 /* ... and what of it is reserved */

struct file {
	sqlite3_file base;  /* first: SQLite sees nothing else */
	sqlite3_file *real; /* lies behind this struct */
	bool pages;         /* it is the database: its pages have checksums */
};

static sqlite3_vfs vfs;
static sqlite3_vfs *system_vfs;
static _Thread_local uint32_t damaged_page;
static _Thread_local int failed_errno;

int
store_vfs_errno(void)
{
	int error = failed_errno;

	failed_errno = 0;
	return error;
}

/* Take down why the system's call failed, if it did. */
static int
note(int r)
{
	if (r != SQLITE_OK && r != SQLITE_IOERR_SHORT_READ)
		failed_errno = errno;
	return r;
}

uint32_t
store_vfs_damage(void)
{
	uint32_t page = damaged_page;

	damaged_page = 0;
	return page;
}

/* ---- the checksum ---- */

static inline uint64_t
mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15ull;
	return h << 29 | h >> 35;
}

/* Each step maps different words to different sums, so a change of one word is always seen, and
 * any other one but for 1 in 2^64.  Four sums side by side: they do not wait for each other. */
static uint64_t
page_sum(const unsigned char *page, uint32_t number)
{
	uint64_t h[4] = { number, 1, 2, 3 }, words[4];
	size_t at = 0;

	for (; at + sizeof(words) <= CHECKED_BYTES; at += sizeof(words)) {
		memcpy(words, page + at, sizeof(words));
		for (int i = 0; i < 4; i++)
			h[i] = mix(h[i], words[i]);
	}
	memset(words, 0, sizeof(words));
	memcpy(words, page + at, CHECKED_BYTES - at);
	uint64_t sum = 0;
	for (int i = 0; i < 4; i++)
		sum = mix(sum, mix(h[i], words[i]));
	return sum != 0 ? sum : 1;
}

enum page_state
store_page_state(const unsigned char *page, uint32_t number)
{
	uint64_t sum;

	memcpy(&sum, page + CHECKED_BYTES, sizeof(sum));
	if (sum == page_sum(page, number))
		return PAGE_GOOD;
	/* No page is all zeros: a block that the disk has lost may be. */
	bool zeros = sum == 0 && page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
	return sum == 0 && !zeros ? PAGE_PLAIN : PAGE_DAMAGED;
}

/* ---- reading and writing ---- */

static sqlite3_file *
real(sqlite3_file *f)
{
	return ((struct file *)f)->real;
}

/* SQLite reads the header first, and believes its page size: ours never changes. */
static bool
is_our_header(const unsigned char *h)
{
	return h[HEADER_PAGE_BYTES] == PAGE_BYTES >> 8 && h[HEADER_PAGE_BYTES + 1] == 0 &&
	       h[HEADER_RESERVED] == PAGE_RESERVED;
}

static int
read_page(sqlite3_file *f, unsigned char *page, uint32_t number)
{
	sqlite3_int64 offset = (sqlite3_int64)(number - 1) * PAGE_BYTES;
	int r = note(real(f)->pMethods->xRead(real(f), page, PAGE_BYTES, offset));

	if (r != SQLITE_OK)
		return r;
	if (store_page_state(page, number) == PAGE_DAMAGED) {
		damaged_page = number;
		return SQLITE_IOERR_DATA;
	}
	/* What is changed of it goes into the log, and from there maybe by another program into
	 * the database: without a checksum rather than with an old one. */
	memset(page + CHECKED_BYTES, 0, PAGE_RESERVED);
	return SQLITE_OK;
}

static int
file_read(sqlite3_file *f, void *buffer, int amount, sqlite3_int64 offset)
{
	unsigned char page[PAGE_BYTES];
	size_t within = (size_t)(offset % PAGE_BYTES);
	uint32_t number = (uint32_t)(offset / PAGE_BYTES) + 1;

	if (!((struct file *)f)->pages)
		return note(real(f)->pMethods->xRead(real(f), buffer, amount, offset));
	if (amount == PAGE_BYTES && within == 0)
		return read_page(f, buffer, number);
	if (offset + amount <= HEADER_BYTES) {
		int r = note(real(f)->pMethods->xRead(real(f), buffer, amount, offset));
		if (r == SQLITE_OK && offset == 0 && amount > HEADER_RESERVED &&
		    !is_our_header(buffer)) {
			damaged_page = 1;
			return SQLITE_IOERR_DATA;
		}
		return r;
	}
	if (within + (size_t)amount > PAGE_BYTES)
		return SQLITE_IOERR_DATA; /* there are no such reads in pages of this size */
	int r = read_page(f, page, number);
	if (r == SQLITE_OK)
		memcpy(buffer, page + within, (size_t)amount);
	return r;
}

static int
file_write(sqlite3_file *f, const void *bytes, int amount, sqlite3_int64 offset)
{
	unsigned char page[PAGE_BYTES];

	if (!((struct file *)f)->pages)
		return note(real(f)->pMethods->xWrite(real(f), bytes, amount, offset));
	if (amount != PAGE_BYTES || offset % PAGE_BYTES != 0)
		return SQLITE_IOERR_WRITE; /* SQLite writes whole pages */
	memcpy(page, bytes, CHECKED_BYTES);
	uint64_t sum = page_sum(page, (uint32_t)(offset / PAGE_BYTES) + 1);
	memcpy(page + CHECKED_BYTES, &sum, sizeof(sum));
	return note(real(f)->pMethods->xWrite(real(f), page, PAGE_BYTES, offset));
}

/* ---- the other calls are the system's ---- */

static int
file_close(sqlite3_file *f)
{
	return real(f)->pMethods->xClose(real(f));
}

static int
file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return note(real(f)->pMethods->xTruncate(real(f), size));
}

static int
file_sync(sqlite3_file *f, int flags)
{
	return note(real(f)->pMethods->xSync(real(f), flags));
}

static int
file_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real(f)->pMethods->xFileSize(real(f), size);
}

static int
file_lock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xLock(real(f), level);
}

static int
file_unlock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xUnlock(real(f), level);
}

static int
file_check_lock(sqlite3_file *f, int *held)
{
	return real(f)->pMethods->xCheckReservedLock(real(f), held);
}

static int
file_control(sqlite3_file *f, int op, void *argument)
{
	return real(f)->pMethods->xFileControl(real(f), op, argument);
}

static int
file_sector(sqlite3_file *f)
{
	return real(f)->pMethods->xSectorSize(real(f));
}

static int
file_device(sqlite3_file *f)
{
	/* Whole pages only: a part of one has no checksum. */
	return real(f)->pMethods->xDeviceCharacteristics(real(f)) & ~SUBPAGE_READ;
}

static int
shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **ret)
{
	return note(real(f)->pMethods->xShmMap(real(f), region, size, extend, ret));
}

static int
shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void
shm_barrier(sqlite3_file *f)
{
	real(f)->pMethods->xShmBarrier(real(f));
}

static int
shm_unmap(sqlite3_file *f, int delete)
{
	return real(f)->pMethods->xShmUnmap(real(f), delete);
}

/* Version 2: without xFetch no page is read past us by mmap. */
static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_unlock,
	.xCheckReservedLock = file_check_lock,
	.xFileControl = file_control,
	.xSectorSize = file_sector,
	.xDeviceCharacteristics = file_device,
	.xShmMap = shm_map,
	.xShmLock = shm_lock,
	.xShmBarrier = shm_barrier,
	.xShmUnmap = shm_unmap,
};

static int
vfs_open(sqlite3_vfs *unused, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct file *file = (struct file *)f;

	(void)unused;
	file->real = (sqlite3_file *)(file + 1);
	file->pages = (flags & SQLITE_OPEN_MAIN_DB) != 0;
	int got = flags;
	int r = note(system_vfs->xOpen(system_vfs, name, file->real, flags, &got));
	/* What it could not open for writing it opens for reading, and would never try again. */
	if (r == SQLITE_OK && (flags & SQLITE_OPEN_READWRITE) && (got & SQLITE_OPEN_READONLY)) {
		(void)file->real->pMethods->xClose(file->real);
		r = SQLITE_READONLY;
	}
	if (ret_flags != NULL)
		*ret_flags = got;
	/* SQLite closes a file that was not opened when it has methods. */
	f->pMethods = r == SQLITE_OK ? &methods : NULL;
	return r;
}

int
store_vfs_register(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	int r = SQLITE_OK;

	pthread_mutex_lock(&lock);
	if (system_vfs == NULL) {
		sqlite3_vfs *found = sqlite.vfs_find(NULL);
		if (found == NULL) {
			r = SQLITE_ERROR;
		} else {
			/* All but xOpen is the system's, and does not mind whose it is. */
			vfs = *found;
			vfs.zName = STORE_VFS;
			vfs.pNext = NULL;
			vfs.szOsFile += (int)sizeof(struct file);
			vfs.xOpen = vfs_open;
			r = sqlite.vfs_register(&vfs, 0);
		}
		if (r == SQLITE_OK)
			system_vfs = found;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

/* ---- all pages ---- */

int
store_pages_check(sqlite3 *db, bool seal, bool (*skip)(const void *context, uint32_t page),
		  const void *context, struct pages *ret)
{
	unsigned char page[PAGE_BYTES];
	sqlite3_file *f = NULL;
	sqlite3_int64 size = 0;

	*ret = (struct pages){ 0 };
	int r = sqlite.file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &f);
	if (r == SQLITE_OK)
		r = file_size(f, &size);
	uint32_t count = (uint32_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
	for (uint32_t n = 1; n <= count && r == SQLITE_OK; n++) {
		sqlite3_int64 offset = (sqlite3_int64)(n - 1) * PAGE_BYTES;
		if (skip(context, n))
			continue;
		r = real(f)->pMethods->xRead(real(f), page, PAGE_BYTES, offset);
		bool cut = r == SQLITE_IOERR_SHORT_READ;
		if (r != SQLITE_OK && !cut)
			break;
		r = SQLITE_OK;
		enum page_state state = cut ? PAGE_DAMAGED : store_page_state(page, n);
		ret->count++;
		ret->damaged += state == PAGE_DAMAGED;
		ret->plain += state == PAGE_PLAIN;
		if (state == PAGE_DAMAGED && ret->first_damaged == 0)
			ret->first_damaged = n;
		if (state == PAGE_PLAIN && seal)
			r = file_write(f, page, PAGE_BYTES, offset);
	}
	return r;
}
